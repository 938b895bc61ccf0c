//! Virtio memory balloon: the guest hands pages back to the host, when it is asked to (the balloon), and
//! by itself when they are free (reporting); and it tells how its memory is used.
//! Spec: VIRTIO 1.2, "Traditional Memory Balloon Device".
//!
//! A page that is handed back is gone at once; one that the guest takes again, or that was never really
//! handed back by a guest that lies, is there again at its next touch. So nothing is kept of which
//! pages are in the balloon, and whatever the driver says costs at most its own memory's content.
//!
//! Free page hinting, which serves migration alone, is not on offer. Queues are numbered as Linux
//! numbers them: those of features that are not on offer do not count.

mod backend;
mod pages;
mod shared;
mod statistics;

use std::sync::Arc;

use memory::GuestMemory;

use crate::virtio::{Doorbell, VirtioDevice, WorkerPlan};

use backend::BalloonBackend;
use shared::Shared;
pub use shared::{BalloonHandle, BalloonReport};
pub use statistics::MemoryStatistics;

const ID: u16 = 5;
/// No class of the list fits.
const CLASS: u32 = 0xff_00_00;
/// Of every queue.
const QUEUE_SIZE: u16 = 128;
const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATISTICS: usize = 2;
const REPORTING: usize = 3;
const QUEUES: usize = 4;

const F_STATS_VQ: u64 = 1 << 1;
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
const F_PAGE_POISON: u64 = 1 << 4;
const F_REPORTING: u64 = 1 << 5;

/// Offsets in `struct virtio_balloon_config`, bytes.
const ACTUAL: usize = 4;
const POISON: usize = 12;
const CONFIG_LEN: usize = 16;

/// Bytes of what the driver counts as a page.
pub const BALLOON_PAGE: u64 = 4096;

#[derive(Debug)]
pub struct Balloon {
    memory: GuestMemory,
    shared: Arc<Shared>,
    waker: Option<Arc<Doorbell>>,
}

impl Balloon {
    /// Of the guest with this RAM.
    #[must_use]
    pub fn new(memory: GuestMemory) -> Balloon {
        let waker = Doorbell::new().ok().map(Arc::new);
        Balloon {
            shared: Arc::new(Shared::new(waker.clone())),
            memory,
            waker,
        }
    }

    #[must_use]
    pub fn handle(&self) -> BalloonHandle {
        BalloonHandle::new(Arc::clone(&self.shared))
    }
}

impl VirtioDevice for Balloon {
    fn kind(&self) -> &'static str {
        "virtio-balloon"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        F_STATS_VQ | F_DEFLATE_ON_OOM | F_PAGE_POISON | F_REPORTING
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; QUEUES]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        // Without descriptors left, queues have no worker and VirtioPci::new says so.
        let plan = self.waker.clone().map(|waker| WorkerPlan {
            queues: QUEUES,
            backend: Box::new(BalloonBackend::new(
                self.memory.clone(),
                Arc::clone(&self.shared),
            )),
            waker,
            events: None,
        });
        plan.into_iter().collect()
    }

    /// `struct virtio_balloon_config`.
    fn config(&self) -> Vec<u8> {
        let state = self.shared.state();
        let mut config = Vec::with_capacity(CONFIG_LEN);
        // Third, the command of free page hinting: none.
        for field in [state.target, state.actual, 0, state.poison] {
            config.extend_from_slice(&field.to_le_bytes());
        }
        config
    }

    fn config_write(&mut self, offset: u64, data: &[u8]) {
        let mut config = self.config();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(fields) = config.get_mut(start..) else {
            return;
        };
        for (to, from) in fields.iter_mut().zip(data) {
            *to = *from;
        }
        let field = |at: usize| {
            let bytes = config.get(at..).and_then(<[u8]>::first_chunk);
            bytes.copied().map_or(0, u32::from_le_bytes)
        };
        self.shared.driver_wrote(field(ACTUAL), field(POISON));
    }

    fn reset(&mut self) {
        self.shared.driver_reset();
    }

    fn save(&self) -> Vec<u8> {
        self.shared.save()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.shared.restore(bytes)
    }
}

#[cfg(test)]
mod tests;
