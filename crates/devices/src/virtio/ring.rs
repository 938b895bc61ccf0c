//! A split virtqueue as a backend sees it: requests to pop, answers to complete.
//! Spec: "Split Virtqueues", "Used Buffer Notification Suppression".

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use crate::virtio::interrupts::Interrupts;
use crate::virtio::{Chain, Next, Nonsense};

/// How long a batch may go on before the driver hears of its first answer. Long enough to save
/// interrupts, which cost a guest under a software engine thousands of instructions.
const BATCH: Duration = Duration::from_micros(100);
/// How long one call of a backend has gone on. A guest that fills a ring as fast as it is emptied
/// must not keep the worker from its lock, which a reset and a pause wait for.
#[derive(Debug)]
pub(super) struct Batch(Instant);

impl Batch {
    pub(super) fn begin() -> Batch {
        Batch(Instant::now())
    }

    /// Leave the rest to the next call ([`Next::Again`]).
    pub(super) fn is_over(&self) -> bool {
        self.0.elapsed() > BATCH
    }
}

/// In the available ring's flags: the driver wants no interrupts.
const NO_INTERRUPT: u16 = 1;

/// What the driver told of one queue, and how far the device has come. Addresses are guest-physical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    pub size: u16,
    pub enabled: bool,
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    pub next_available: u16,
    pub next_used: u16,
}

/// One queue of a device.
#[derive(Debug)]
pub struct Ring {
    /// Set while the driver has the queue enabled.
    queue: Option<Queue>,
    memory: GuestMemory,
    interrupts: Arc<Interrupts>,
    index: u16,
    max_size: u16,
    unsignalled: bool,
}

impl Ring {
    pub(super) fn new(
        index: u16,
        max_size: u16,
        memory: GuestMemory,
        interrupts: Arc<Interrupts>,
    ) -> Ring {
        Ring {
            queue: None,
            memory,
            interrupts,
            index,
            max_size,
            unsignalled: false,
        }
    }

    /// Takes the queue into use as the driver described it.
    pub(super) fn enable(&mut self, state: &QueueState, event_idx: bool) -> Result<(), Nonsense> {
        let wrong = |_| Nonsense::Ring;
        let mut queue = Queue::new(self.max_size).map_err(wrong)?;
        queue.try_set_size(state.size).map_err(wrong)?;
        let set = queue.try_set_desc_table_address(GuestAddress(state.descriptors));
        set.map_err(wrong)?;
        let set = queue.try_set_avail_ring_address(GuestAddress(state.driver));
        set.map_err(wrong)?;
        let set = queue.try_set_used_ring_address(GuestAddress(state.device));
        set.map_err(wrong)?;
        queue.set_event_idx(event_idx);
        queue.set_next_avail(state.next_available);
        queue.set_next_used(state.next_used);
        queue.set_ready(true);
        if !queue.is_valid(self.memory.ram()) {
            return Err(Nonsense::Ring);
        }
        self.queue = Some(queue);
        self.unsignalled = false;
        Ok(())
    }

    pub(super) fn disable(&mut self) {
        self.queue = None;
        self.unsignalled = false;
    }

    /// The driver shall read the device's configuration again.
    pub fn config_changed(&self) {
        self.interrupts.config_changed();
    }

    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// How far the device has come: next available and next used index.
    pub(super) fn progress(&self) -> (u16, u16) {
        let queue = self.queue.as_ref();
        queue.map_or((0, 0), |queue| (queue.next_avail(), queue.next_used()))
    }

    /// The next request, or `None` when there is none now.
    ///
    /// # Errors
    /// When the ring or the chain is nonsense.
    pub fn pop(&mut self) -> Result<Option<Chain>, Nonsense> {
        let Some(queue) = self.queue.as_mut() else {
            return Ok(None);
        };
        let mut heads = queue.iter(self.memory.ram()).map_err(|_| Nonsense::Ring)?;
        match heads.next() {
            Some(descriptors) => Chain::collect(&self.memory, descriptors).map(Some),
            None => Ok(None),
        }
    }

    /// Puts the request that was popped last back, to be popped again later.
    pub fn unpop(&mut self) {
        if let Some(queue) = self.queue.as_mut() {
            queue.go_to_previous_position();
        }
    }

    /// Answers a request; `written` bytes of its writable part hold the answer. The driver hears of
    /// it with the next [`Ring::signal`].
    ///
    /// # Errors
    /// When the ring is nonsense.
    pub fn complete(&mut self, chain: &Chain, written: u32) -> Result<(), Nonsense> {
        let Some(queue) = self.queue.as_mut() else {
            return Ok(());
        };
        let added = queue.add_used(self.memory.ram(), chain.head(), written);
        added.map_err(|_| Nonsense::Ring)?;
        self.unsignalled = true;
        Ok(())
    }

    /// Interrupts the driver if there are new answers and it wants to hear of them.
    ///
    /// # Errors
    /// When the ring is nonsense.
    pub fn signal(&mut self) -> Result<(), Nonsense> {
        let Some(queue) = self.queue.as_mut() else {
            return Ok(());
        };
        if !std::mem::take(&mut self.unsignalled) {
            return Ok(());
        }
        let ram = self.memory.ram();
        let mut wanted = queue.needs_notification(ram).map_err(|_| Nonsense::Ring)?;
        if !queue.event_idx_enabled() {
            let flags: u16 = ram
                .load(GuestAddress(queue.avail_ring()), Ordering::Relaxed)
                .map_err(|_| Nonsense::Ring)?;
            wanted = u16::from_le(flags) & NO_INTERRUPT == 0;
        }
        if wanted {
            self.interrupts.queue(self.index);
        }
        Ok(())
    }

    /// Tells the driver that the device is looking anyway and need not be notified.
    ///
    /// # Errors
    /// When the ring is nonsense.
    pub fn stop_notifications(&mut self) -> Result<(), Nonsense> {
        match self.queue.as_mut() {
            Some(queue) => queue
                .disable_notification(self.memory.ram())
                .map_err(|_| Nonsense::Ring),
            None => Ok(()),
        }
    }

    /// Asks the driver to notify. Answers whether a request has come meanwhile.
    ///
    /// # Errors
    /// When the ring is nonsense.
    pub fn want_notifications(&mut self) -> Result<bool, Nonsense> {
        match self.queue.as_mut() {
            Some(queue) => queue
                .enable_notification(self.memory.ram())
                .map_err(|_| Nonsense::Ring),
            None => Ok(false),
        }
    }

    /// Serves requests with `answer`, which tells how many bytes it wrote, until there are none or
    /// the batch has taken long enough.
    ///
    /// # Errors
    /// When the driver has broken the protocol.
    pub fn drain(
        &mut self,
        mut answer: impl FnMut(&Chain) -> Result<u32, Nonsense>,
    ) -> Result<Next, Nonsense> {
        self.stop_notifications()?;
        let batch = Batch::begin();
        let next = loop {
            if let Some(chain) = self.pop()? {
                let written = answer(&chain)?;
                self.complete(&chain, written)?;
                if batch.is_over() {
                    break Next::Again;
                }
            } else if !self.want_notifications()? {
                break Next::Wait;
            } else {
                self.stop_notifications()?;
            }
        };
        self.signal()?;
        Ok(next)
    }

    /// Likewise, but stops at the first request that `answer` has no answer to, which stays in the
    /// queue. The driver is not told to stop notifying: it has just done so, and waits for us.
    ///
    /// # Errors
    /// When the driver has broken the protocol.
    pub fn drain_now(
        &mut self,
        mut answer: impl FnMut(&Chain) -> Result<Option<u32>, Nonsense>,
    ) -> Result<Next, Nonsense> {
        let batch = Batch::begin();
        let next = loop {
            if let Some(chain) = self.pop()? {
                let Some(written) = answer(&chain)? else {
                    self.unpop();
                    break Next::Again;
                };
                self.complete(&chain, written)?;
            } else if !self.want_notifications()? {
                break Next::Wait;
            }
            if batch.is_over() {
                break Next::Again;
            }
        };
        self.signal()?;
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
