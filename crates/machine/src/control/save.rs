//! Saving a machine that runs, for whoever asks from another thread.

use std::sync::mpsc::{Sender, channel};

use super::MachineControl;
use crate::recorded::{RecordOrder, Recorded};
use crate::sync::lock;
use crate::{MachineError, threads};

/// What somebody waits for.
#[derive(Debug)]
pub(super) struct Saving {
    order: RecordOrder,
    answer: Sender<Result<Recorded, MachineError>>,
}

/// An order, and how to answer it.
pub(crate) type Ordered = (RecordOrder, Sender<Result<Recorded, MachineError>>);

impl MachineControl {
    /// Saves a machine that runs, and leaves it paused: what it had said when it was saved, and no more,
    /// can be read then. [`MachineControl::resume`] lets it go on, also while its memory is still
    /// written. `None` where the machine does not run, or somebody else saves it; and for a device that
    /// asks in the middle of an access.
    #[must_use]
    pub fn save(&self, order: RecordOrder) -> Option<Result<Recorded, MachineError>> {
        if threads::is_vcpu() {
            return None;
        }
        let (answer, result) = channel();
        self.change(|state| {
            if state.running && state.saving.is_none() {
                state.saving = Some(Saving { order, answer });
                state.paused = true;
            }
        });
        // Nobody answers when the run has ended meanwhile.
        result.recv().ok()
    }

    /// Takes the order, which its taker answers.
    pub(crate) fn take_saving(&self) -> Option<Ordered> {
        let saving = lock(&self.shared.state).saving.take();
        saving.map(|saving| (saving.order, saving.answer))
    }
}
