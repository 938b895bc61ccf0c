//! Changes of a running machine's devices, for whoever asks from another thread.

use std::sync::Mutex;

use super::MachineControl;
use crate::MachineError;
use crate::plugging::{Ejected, Plug, PluggedReport};
use crate::sync::lock;

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
        self.aside(false, move |machine| machine.plug(plug))
    }

    /// Asks the guest to let go of the device of this name. [`MachineControl::plugged`] tells when it has,
    /// and [`MachineControl::news`] when to look. `None` as for [`MachineControl::plug`].
    #[must_use]
    pub fn ask_out(&self, id: &str) -> Option<Result<(), MachineError>> {
        let id = id.to_owned();
        self.aside(false, move |machine| machine.ask_out(&id))
    }

    /// Devices with names: those that can be plugged in, and that may go.
    #[must_use]
    pub fn plugged(&self) -> Vec<PluggedReport> {
        lock(&self.shared.plugs.reports).clone()
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
