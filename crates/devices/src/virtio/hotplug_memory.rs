//! Virtio memory device (virtio-mem): RAM that a running guest gets more and less of, block by block.
//! Spec: VIRTIO 1.2, "Memory Device".
//!
//! The device has a region of guest-physical addresses with RAM behind it that costs nothing until it is
//! touched. The host says how much of it the guest shall have; the driver plugs and unplugs blocks
//! until that is so. A block that is unplugged is given back at once.
//!
//! Whether a block is plugged is an agreement: a guest that breaks it reads zeros, or its own writes until
//! they are given back. So what a guest can have at most is the whole region, whatever is asked of it.

mod backend;
mod blocks;
mod request;
mod shared;

use std::sync::Arc;

use memory::{GuestMemory, RamRange};

use crate::virtio::{Doorbell, VirtioDevice, WorkerPlan};

use backend::MemoryBackend;
use shared::Shared;
pub use shared::{HotplugMemoryHandle, HotplugMemoryReport};

const ID: u16 = 24;
/// Memory controller, RAM.
const CLASS: u32 = 0x05_00_00;
const QUEUE_SIZE: u16 = 64;

/// The driver leaves what is not plugged alone.
const F_UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;

/// Bytes of a block; the region begins at a multiple, and has a multiple.
pub const BLOCK: u64 = 2 << 20;

#[derive(Debug)]
pub struct HotplugMemory {
    shared: Arc<Shared>,
    waker: Option<Arc<Doorbell>>,
}

impl HotplugMemory {
    /// `region` is RAM of `memory`, in whole blocks; what is beyond a whole block is not used.
    #[must_use]
    pub fn new(memory: GuestMemory, region: RamRange) -> HotplugMemory {
        let waker = Doorbell::new().ok().map(Arc::new);
        HotplugMemory {
            shared: Arc::new(Shared::new(memory, region, waker.clone())),
            waker,
        }
    }

    #[must_use]
    pub fn handle(&self) -> HotplugMemoryHandle {
        HotplugMemoryHandle::new(Arc::clone(&self.shared))
    }
}

impl VirtioDevice for HotplugMemory {
    fn kind(&self) -> &'static str {
        "virtio-mem"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        F_UNPLUGGED_INACCESSIBLE
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        // Without descriptors left, the queue has no worker and VirtioPci::new says so.
        let plan = self.waker.clone().map(|waker| WorkerPlan {
            queues: 1,
            backend: Box::new(MemoryBackend::new(Arc::clone(&self.shared))),
            waker,
            events: None,
        });
        plan.into_iter().collect()
    }

    /// `struct virtio_mem_config`. The node, third, is not on offer.
    fn config(&self) -> Vec<u8> {
        let report = self.shared.report();
        let fields = [
            BLOCK,
            0,
            report.base.0,
            report.size,
            report.size,
            report.plugged,
            report.requested,
        ];
        fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect()
    }

    fn power_on(&mut self) {
        self.shared.power_on();
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
