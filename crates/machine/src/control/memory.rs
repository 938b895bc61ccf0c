//! What one may ask of a running machine's memory.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use devices::virtio::{
    BalloonHandle, BalloonReport, Doorbell, HotplugMemoryHandle, HotplugMemoryReport,
};
use memory::GuestMemory;

use super::{MachineControl, Shared};
use crate::sync::lock;

/// How a guest's memory is used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes that the guest was made with.
    pub size: u64,
    /// Bytes of RAM that take memory of the host's now.
    pub resident: u64,
    /// Absent where there is no balloon.
    pub balloon: Option<BalloonReport>,
    /// What can be plugged in; absent where nothing can.
    pub hotplug: Option<HotplugMemoryReport>,
}

#[derive(Debug, Default)]
struct Connected {
    ram: Option<(u64, GuestMemory)>,
    balloon: Option<BalloonHandle>,
    hotplug: Option<HotplugMemoryHandle>,
}

/// The machine's memory, as long as there is a machine.
#[derive(Debug, Default)]
pub(super) struct Memory {
    connected: Mutex<Connected>,
    /// Rung when something has changed by itself.
    news: Mutex<Option<Arc<Doorbell>>>,
}

impl Memory {
    pub(super) fn disconnect(&self) {
        *lock(&self.connected) = Connected::default();
    }
}

impl Shared {
    /// Something has changed that nobody asked for just now.
    fn tell_news(&self) {
        if let Some(bell) = lock(&self.memory.news).as_ref() {
            bell.ring();
        }
    }
}

impl MachineControl {
    /// Asks the guest to hand so many bytes to the host. It does what it can.
    pub fn set_balloon(&self, bytes: u64) {
        if let Some(balloon) = &lock(&self.shared.memory.connected).balloon {
            balloon.set_target(bytes);
        }
    }

    /// Asks the guest to plug in so many bytes, beside those that it was made with.
    pub fn request_memory(&self, bytes: u64) {
        if let Some(hotplug) = &lock(&self.shared.memory.connected).hotplug {
            hotplug.request(bytes);
        }
    }

    /// Asks the guest to tell anew how it uses its memory; the next reports have it when it has.
    pub fn ask_memory_statistics(&self) {
        if let Some(balloon) = &lock(&self.shared.memory.connected).balloon {
            balloon.ask_statistics();
        }
    }

    /// `None` where the machine has gone.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryReport> {
        let connected = lock(&self.shared.memory.connected);
        let (size, ram) = connected.ram.as_ref()?;
        Some(MemoryReport {
            size: *size,
            resident: ram.resident(),
            balloon: connected.balloon.as_ref().map(BalloonHandle::report),
            hotplug: connected.hotplug.as_ref().map(HotplugMemoryHandle::report),
        })
    }

    /// A descriptor that becomes readable, an eventfd, when the guest has changed its memory's size,
    /// or has let go of a processor.
    ///
    /// # Errors
    /// When the host has no more descriptors.
    pub fn news(&self) -> std::io::Result<OwnedFd> {
        let mut news = lock(&self.shared.memory.news);
        let bell = match news.as_ref() {
            Some(bell) => Arc::clone(bell),
            None => Arc::clone(news.insert(Arc::new(Doorbell::new()?))),
        };
        bell.as_fd().try_clone_to_owned()
    }

    /// Something has changed by itself: see [`MachineControl::news`].
    pub(crate) fn tell_news(&self) {
        self.shared.tell_news();
    }

    /// What tells of news, while there is a machine.
    fn teller(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.tell_news();
            }
        }
    }

    /// `size` is in bytes, as the machine's description has it.
    pub(crate) fn connect_memory(&self, size: u64, ram: GuestMemory) {
        lock(&self.shared.memory.connected).ram = Some((size, ram));
    }

    pub(crate) fn connect_balloon(&self, balloon: BalloonHandle) {
        balloon.on_change(self.teller());
        lock(&self.shared.memory.connected).balloon = Some(balloon);
    }

    pub(crate) fn connect_hotplug_memory(&self, hotplug: HotplugMemoryHandle) {
        hotplug.on_change(self.teller());
        lock(&self.shared.memory.connected).hotplug = Some(hotplug);
    }
}
