//! Disks that cannot be written to since the host has no room: the guest stands still until somebody resumes it.

use std::fmt::{self, Debug};
use std::sync::{Arc, Weak};

use devices::virtio::NoRoom;

use super::{MachineControl, Shared};
use crate::sync::lock;

/// A disk that a write is kept for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullDisk {
    pub id: String,
    /// The image's name, for messages.
    pub image: String,
}

/// A disk's way to stop its machine, which has the disk.
struct Stop {
    disk: FullDisk,
    shared: Weak<Shared>,
}

impl Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

impl NoRoom for Stop {
    fn stop(&self) -> bool {
        let shared = self.shared.upgrade();
        shared.is_some_and(|shared| MachineControl { shared }.stop_for(&self.disk))
    }
}

impl MachineControl {
    /// Disks with a write that the host has no room for. Since the first of them the machine is paused; when it is
    /// resumed there are none, until the write that is then tried again fails again. [`MachineControl::news`] tells.
    #[must_use]
    pub fn full_disks(&self) -> Vec<FullDisk> {
        lock(&self.shared.state).full.clone()
    }

    /// From now on a disk whose host has no room for a write pauses the machine. Otherwise the write fails: not everybody
    /// who runs a machine could be told.
    pub fn stop_when_full(&self) {
        self.change(|state| state.stops_when_full = true);
    }

    pub(crate) fn no_room(&self, disk: FullDisk) -> impl NoRoom + 'static {
        Stop {
            disk,
            shared: Arc::downgrade(&self.shared),
        }
    }

    fn stop_for(&self, disk: &FullDisk) -> bool {
        let mut stops = false;
        self.change(|state| {
            stops = state.stops_when_full;
            // Together: who resumes takes both away.
            state.paused |= stops;
            if stops && !state.full.contains(disk) {
                state.full.push(disk.clone());
            }
        });
        self.tell_news();
        stops
    }
}
