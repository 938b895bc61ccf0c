//! Changes of a running machine's devices, for whoever asks from another thread.

use std::fmt::{self, Debug};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::MachineControl;
use crate::machine::Machine;
use crate::plugging::{Ejected, Plug, PluggedReport};
use crate::sync::lock;
use crate::{MachineError, threads};

/// Done by whoever runs the machine, while its guest stands still.
type Change = Box<dyn FnOnce(&mut Machine) + Send>;

/// What somebody waits for, in the order in which they came.
#[derive(Default)]
pub(super) struct Changes(pub(super) Vec<Change>);

impl Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Changes").field(&self.0.len()).finish()
    }
}

/// What is plugged in, as it was last told, and what the guest has let go of.
#[derive(Debug, Default)]
pub(super) struct Plugs {
    reports: Mutex<Vec<PluggedReport>>,
    pub(super) ejected: Ejected,
}

impl MachineControl {
    /// Puts a device into the machine and tells the guest. Answers its slot; `None` where the machine does
    /// not run, and for a device that asks in the middle of an access.
    #[must_use]
    pub fn plug(&self, plug: Plug) -> Option<Result<u8, MachineError>> {
        self.order(move |machine| machine.plug(plug))
    }

    /// Asks the guest to let go of the device of this name. [`MachineControl::plugged`] tells when it has,
    /// and [`MachineControl::news`] when to look. `None` as for [`MachineControl::plug`].
    #[must_use]
    pub fn ask_out(&self, id: &str) -> Option<Result<(), MachineError>> {
        let id = id.to_owned();
        self.order(move |machine| machine.ask_out(&id))
    }

    /// Devices with names: those that can be plugged in, and that may go.
    #[must_use]
    pub fn plugged(&self) -> Vec<PluggedReport> {
        lock(&self.shared.plugs.reports).clone()
    }

    fn order<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> Option<T> {
        if threads::is_vcpu() {
            return None;
        }
        let (answer, result) = channel();
        self.change(|state| {
            if state.running {
                state.changes.0.push(Box::new(move |machine| {
                    // Whoever does not wait any more does not want it.
                    let _ = answer.send(change(machine));
                }));
            }
        });
        // Nobody answers when the run has ended meanwhile.
        result.recv().ok()
    }

    pub(crate) fn take_change(&self) -> Option<Change> {
        let mut taken = None;
        self.change(|state| {
            if !state.changes.0.is_empty() {
                taken = Some(state.changes.0.remove(0));
            }
        });
        taken
    }

    pub(crate) fn set_plugged(&self, reports: Vec<PluggedReport>) {
        *lock(&self.shared.plugs.reports) = reports;
    }

    pub(crate) fn ejected(&self) -> &Ejected {
        &self.shared.plugs.ejected
    }

    /// Something is to be done that is not in the state: vCPUs stop for it.
    pub(crate) fn look(&self) {
        self.change(|state| state.ejected = true);
    }

    pub(crate) fn ejected_taken(&self) {
        self.change(|state| state.ejected = false);
    }
}
