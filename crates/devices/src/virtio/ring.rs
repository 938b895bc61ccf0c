//! A split virtqueue as a backend sees it: requests to pop, answers to complete.
//! Spec: "Split Virtqueues", "Used Buffer Notification Suppression".

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use crate::virtio::interrupts::Interrupts;
use crate::virtio::{Chain, Doorbell, Next, Nonsense, RateGate};

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
/// Bytes before the elements of the used ring, and before those of the available ring.
const USED_HEADER: u64 = 4;
const DRIVER_HEADER: u64 = 4;

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
    /// The used index that the driver was told of last.
    signalled: u16,
    /// Rung when the driver has notified the queue.
    bell: Option<Arc<Doorbell>>,
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
            signalled: 0,
            bell: None,
        }
    }

    /// This one is rung when the driver notifies the queue.
    pub(super) fn set_bell(&mut self, bell: Arc<Doorbell>) {
        self.bell = Some(bell);
    }

    pub(super) fn bell(&self) -> Option<&Arc<Doorbell>> {
        self.bell.as_ref()
    }

    /// The ring as it stands, for somebody else to go on with. `None` where the driver has not enabled it.
    pub(super) fn lend(&self) -> Option<QueueState> {
        let queue = self.queue.as_ref()?;
        Some(QueueState {
            size: queue.size(),
            enabled: true,
            descriptors: queue.desc_table(),
            driver: queue.avail_ring(),
            device: queue.used_ring(),
            next_available: queue.next_avail(),
            next_used: queue.next_used(),
        })
    }

    /// Somebody else has answered everything before this available index. The driver is to look, since who that was
    /// may have left it to us to tell.
    pub(super) fn take_back(&mut self, next_available: u16) {
        if let Some(queue) = self.queue.as_mut() {
            let answered = next_available.wrapping_sub(queue.next_avail());
            let next_used = queue.next_used().wrapping_add(answered);
            queue.set_next_avail(next_available);
            queue.set_next_used(next_used);
            self.signalled = next_used;
            self.interrupt();
        }
    }

    /// Interrupts the driver, whether it wants that or not.
    pub(super) fn interrupt(&self) {
        self.interrupts.queue(self.index);
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
        self.signalled = state.next_used;
        Ok(())
    }

    pub(super) fn disable(&mut self) {
        self.queue = None;
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
        self.complete_all([(chain, written)])
    }

    /// Answers several requests at a time: a driver that sees one of the answers sees all.
    ///
    /// # Errors
    /// When the ring is nonsense.
    pub fn complete_all<'a>(
        &mut self,
        answers: impl IntoIterator<Item = (&'a Chain, u32)>,
    ) -> Result<(), Nonsense> {
        let Some(queue) = self.queue.as_mut() else {
            return Ok(());
        };
        let ram = self.memory.ram();
        let mut used = queue.next_used();
        for (chain, written) in answers {
            let slot = u64::from(used % queue.size());
            let mut element = [0; 8];
            element[..4].copy_from_slice(&u32::from(chain.head()).to_le_bytes());
            element[4..].copy_from_slice(&written.to_le_bytes());
            // `Ring::enable` found the whole ring in RAM.
            let at = GuestAddress(queue.used_ring() + USED_HEADER + slot * element.len() as u64);
            ram.write_slice(&element, at).map_err(|_| Nonsense::Ring)?;
            used = used.wrapping_add(1);
        }
        queue.set_next_used(used);
        let index = GuestAddress(queue.used_ring() + 2);
        ram.store(used.to_le(), index, Ordering::Release)
            .map_err(|_| Nonsense::Ring)
    }

    /// Interrupts the driver if there are new answers and it wants to hear of them.
    ///
    /// # Errors
    /// When the ring is nonsense.
    pub fn signal(&mut self) -> Result<(), Nonsense> {
        let Some(queue) = self.queue.as_ref() else {
            return Ok(());
        };
        let used = queue.next_used();
        let before = std::mem::replace(&mut self.signalled, used);
        if used == before {
            return Ok(());
        }
        // The answers first, then what the driver says it waits for.
        fence(Ordering::SeqCst);
        let wanted = if queue.event_idx_enabled() {
            let event = self.driver_word(queue, DRIVER_HEADER + 2 * u64::from(queue.size()))?;
            used.wrapping_sub(event).wrapping_sub(1) < used.wrapping_sub(before)
        } else {
            self.driver_word(queue, 0)? & NO_INTERRUPT == 0
        };
        if wanted {
            self.interrupts.queue(self.index);
        }
        Ok(())
    }

    /// A field of the available ring.
    fn driver_word(&self, queue: &Queue, offset: u64) -> Result<u16, Nonsense> {
        let at = GuestAddress(queue.avail_ring() + offset);
        let word: u16 = self
            .memory
            .ram()
            .load(at, Ordering::Relaxed)
            .map_err(|_| Nonsense::Ring)?;
        Ok(u16::from_le(word))
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
        answer: impl FnMut(&Chain) -> Result<u32, Nonsense>,
    ) -> Result<Next, Nonsense> {
        self.drain_through(&RateGate::default(), answer)
    }

    /// Likewise, but no further than `gate` lets requests pass. Who answers spends.
    ///
    /// # Errors
    /// When the driver has broken the protocol.
    pub fn drain_through(
        &mut self,
        gate: &RateGate,
        mut answer: impl FnMut(&Chain) -> Result<u32, Nonsense>,
    ) -> Result<Next, Nonsense> {
        self.drain_until(gate, |chain| answer(chain).map(Ok))
    }

    /// Likewise, but stops at the first request that cannot be answered yet, which stays in the queue, and those behind
    /// it with it: `answer` tells when to try again.
    ///
    /// # Errors
    /// When the driver has broken the protocol.
    pub fn drain_until(
        &mut self,
        gate: &RateGate,
        mut answer: impl FnMut(&Chain) -> Result<Result<u32, Duration>, Nonsense>,
    ) -> Result<Next, Nonsense> {
        self.stop_notifications()?;
        let batch = Batch::begin();
        let next = loop {
            if let Some(delay) = gate.wait() {
                break Next::After(delay);
            }
            if let Some(chain) = self.pop()? {
                match answer(&chain)? {
                    Ok(written) => self.complete(&chain, written)?,
                    Err(delay) => {
                        self.unpop();
                        break Next::After(delay);
                    }
                }
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
