//! What one may ask of a running machine's processors.

use std::sync::{Arc, Mutex};

use devices::acpi_cpus::AcpiCpus;

use super::MachineControl;
use crate::sync::lock;

/// The processors that come and go, as long as there is a machine.
#[derive(Debug, Default)]
pub(super) struct Cpus {
    connected: Mutex<Option<Arc<Mutex<AcpiCpus>>>>,
}

impl Cpus {
    pub(super) fn disconnect(&self) {
        *lock(&self.connected) = None;
    }

    fn device(&self) -> Option<Arc<Mutex<AcpiCpus>>> {
        lock(&self.connected).clone()
    }
}

impl MachineControl {
    /// Gives the guest its first `count` processors, and takes the others away once it lets go of them.
    pub fn want_cpus(&self, count: u32) {
        if let Some(device) = self.shared.cpus.device() {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            lock(&device).want(count);
        }
    }

    /// Which processors are there; `None` where they do not come and go.
    #[must_use]
    pub fn cpus(&self) -> Option<Vec<bool>> {
        self.shared
            .cpus
            .device()
            .map(|device| lock(&device).present())
    }

    pub(crate) fn connect_cpus(&self, device: Arc<Mutex<AcpiCpus>>) {
        *lock(&self.shared.cpus.connected) = Some(device);
    }
}
