//! Work on a machine that runs, for whoever comes from another thread: it is done between two runs of the vCPUs,
//! while no device does anything either.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::mpsc::channel;

use super::MachineControl;
use crate::machine::Machine;
use crate::sync::lock;
use crate::threads;

type Work = Box<dyn FnOnce(&mut Machine) + Send>;

/// What somebody waits for, in the order in which they came.
#[derive(Default)]
pub(super) struct Asides(VecDeque<Work>);

impl Asides {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nobody does it any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Debug for Asides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asides").field(&self.0.len()).finish()
    }
}

impl MachineControl {
    /// Does `work` and answers what that answers. With `pause` the guest stands still from then on, until
    /// [`MachineControl::resume`]. `None` where the machine does not run, and for a device that asks in the
    /// middle of an access.
    pub(crate) fn aside<T: Send + 'static>(
        &self,
        pause: bool,
        work: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> Option<T> {
        if threads::is_vcpu() {
            return None;
        }
        let (answer, result) = channel();
        let work: Work = Box::new(move |machine| {
            // Whoever does not wait any more does not want it.
            let _ = answer.send(work(machine));
        });
        self.change(|state| {
            if state.running {
                state.asides.0.push_back(work);
                state.paused |= pause;
            }
        });
        // Nobody answers when the run has ended meanwhile.
        result.recv().ok()
    }

    pub(crate) fn is_paused(&self) -> bool {
        lock(&self.shared.state).paused
    }

    /// Takes the next work, which its taker does.
    pub(crate) fn take_aside(&self) -> Option<impl FnOnce(&mut Machine) + use<>> {
        let mut taken = None;
        self.change(|state| taken = state.asides.0.pop_front());
        taken
    }
}
