//! What one may ask of a running machine's memory.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use devices::virtio::{BalloonHandle, BalloonReport, Doorbell};
use memory::GuestMemory;

use super::MachineControl;
use crate::sync::lock;

/// How a guest's memory is used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes that the guest was made with.
    pub size: u64,
    /// Bytes of RAM that take memory of the host's now.
    pub resident: u64,
    pub balloon: BalloonReport,
}

#[derive(Debug)]
struct Connected {
    size: u64,
    ram: GuestMemory,
    balloon: BalloonHandle,
}

/// The machine's memory, as long as there is a machine.
#[derive(Debug, Default)]
pub(super) struct Memory {
    connected: Mutex<Option<Connected>>,
    /// Rung when something has changed by itself.
    news: Mutex<Option<Arc<Doorbell>>>,
}

impl Memory {
    pub(super) fn disconnect(&self) {
        *lock(&self.connected) = None;
    }
}

impl MachineControl {
    /// Asks the guest to hand so many bytes to the host. It does what it can.
    pub fn set_balloon(&self, bytes: u64) {
        if let Some(memory) = lock(&self.shared.memory.connected).as_ref() {
            memory.balloon.set_target(bytes);
        }
    }

    /// Asks the guest to tell anew how it uses its memory; the next reports have it when it has.
    pub fn ask_memory_statistics(&self) {
        if let Some(memory) = lock(&self.shared.memory.connected).as_ref() {
            memory.balloon.ask_statistics();
        }
    }

    /// `None` where the machine has gone.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryReport> {
        let connected = lock(&self.shared.memory.connected);
        connected.as_ref().map(|memory| MemoryReport {
            size: memory.size,
            resident: memory.ram.resident(),
            balloon: memory.balloon.report(),
        })
    }

    /// A descriptor that becomes readable, an eventfd, when the size of the balloon has changed.
    ///
    /// # Errors
    /// When the host has no more descriptors.
    pub fn news(&self) -> std::io::Result<OwnedFd> {
        use std::os::fd::AsFd;
        let mut news = lock(&self.shared.memory.news);
        let bell = match news.as_ref() {
            Some(bell) => Arc::clone(bell),
            None => Arc::clone(news.insert(Arc::new(Doorbell::new()?))),
        };
        bell.as_fd().try_clone_to_owned()
    }

    /// `size` is in bytes, as the machine's description has it.
    pub(crate) fn connect_memory(&self, size: u64, ram: GuestMemory, balloon: BalloonHandle) {
        let shared = Arc::downgrade(&self.shared);
        balloon.on_change(move || {
            let shared = shared.upgrade();
            if let Some(bell) = shared.and_then(|shared| lock(&shared.memory.news).clone()) {
                bell.ring();
            }
        });
        *lock(&self.shared.memory.connected) = Some(Connected { size, ram, balloon });
    }
}
