//! What the memory device's registers, its worker and the host share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory::{Gpa, GuestMemory, RamRange};
use serde::{Deserialize, Serialize};

use crate::virtio::Doorbell;
use crate::virtio::hotplug_memory::BLOCK;
use crate::virtio::hotplug_memory::blocks::{Blocks, Plugged};
use crate::virtio::hotplug_memory::request::{Answer, Request, Span};

/// Saved as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HotplugMemoryStateV1 {
    /// Blocks that the host wants plugged.
    requested: u64,
    plugged: Blocks,
}

/// How much of the region the guest has. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotplugMemoryReport {
    /// Where the region begins.
    pub base: Gpa,
    pub size: u64,
    pub requested: u64,
    pub plugged: u64,
}

type Hook = Box<dyn Fn() + Send + Sync>;

pub(super) struct Shared {
    memory: GuestMemory,
    base: Gpa,
    /// Of the region.
    blocks: u64,
    state: Mutex<HotplugMemoryStateV1>,
    waker: Option<Arc<Doorbell>>,
    changed: Mutex<Option<Hook>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        memory: GuestMemory,
        region: RamRange,
        waker: Option<Arc<Doorbell>>,
    ) -> Shared {
        let blocks = region.len / BLOCK;
        Shared {
            memory,
            base: region.base,
            blocks,
            state: Mutex::new(HotplugMemoryStateV1 {
                requested: 0,
                plugged: Blocks::new(blocks),
            }),
            waker,
            changed: Mutex::new(None),
        }
    }

    pub(super) fn report(&self) -> HotplugMemoryReport {
        let state = lock(&self.state);
        HotplugMemoryReport {
            base: self.base,
            size: self.blocks * BLOCK,
            requested: state.requested * BLOCK,
            plugged: state.plugged.plugged() * BLOCK,
        }
    }

    /// The machine begins anew: no memory is plugged, and what the host wants stays.
    pub(super) fn power_on(&self) {
        lock(&self.state).plugged.clear();
        // A host that cannot take it leaves it where it is.
        let _ = self.discard(0, self.blocks);
        self.tell();
    }

    pub(super) fn carry_out(&self, request: Request) -> Answer {
        let answer = match request {
            Request::Plug(span) => self.plug(span),
            Request::Unplug(span) => self.unplug(span),
            Request::UnplugAll => self.unplug_all(),
            Request::State(span) => return self.look(span),
            Request::Unknown => Answer::Wrong,
        };
        if answer == Answer::Done {
            self.tell();
        }
        answer
    }

    /// First block and how many, where they are the region's.
    fn inside(&self, span: Span) -> Option<(u64, u64)> {
        let offset = span.address.checked_sub(self.base.0)?;
        let (first, count) = (offset / BLOCK, u64::from(span.blocks));
        let fits = first < self.blocks && count <= self.blocks - first;
        (offset.is_multiple_of(BLOCK) && count > 0 && fits).then_some((first, count))
    }

    fn plug(&self, span: Span) -> Answer {
        let Some((first, count)) = self.inside(span) else {
            return Answer::Wrong;
        };
        let mut state = lock(&self.state);
        if state.plugged.look(first, count) != Plugged::None {
            return Answer::Wrong;
        }
        if state.plugged.plugged() + count > state.requested {
            return Answer::Refused;
        }
        state.plugged.set(first, count, true);
        Answer::Done
    }

    fn unplug(&self, span: Span) -> Answer {
        let Some((first, count)) = self.inside(span) else {
            return Answer::Wrong;
        };
        let mut state = lock(&self.state);
        if state.plugged.look(first, count) != Plugged::All {
            return Answer::Wrong;
        }
        if self.discard(first, count).is_err() {
            return Answer::Busy;
        }
        state.plugged.set(first, count, false);
        Answer::Done
    }

    fn unplug_all(&self) -> Answer {
        let mut state = lock(&self.state);
        if self.discard(0, self.blocks).is_err() {
            return Answer::Busy;
        }
        state.plugged.clear();
        Answer::Done
    }

    fn look(&self, span: Span) -> Answer {
        let Some((first, count)) = self.inside(span) else {
            return Answer::Wrong;
        };
        Answer::State(match lock(&self.state).plugged.look(first, count) {
            Plugged::All => 0,
            Plugged::None => 1,
            Plugged::Some => 2,
        })
    }

    fn discard(&self, first: u64, count: u64) -> std::io::Result<u64> {
        self.memory.discard(RamRange {
            base: Gpa(self.base.0 + first * BLOCK),
            len: count * BLOCK,
        })
    }

    fn tell(&self) {
        if let Some(changed) = lock(&self.changed).as_ref() {
            changed();
        }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        // Plain values always serialise; an empty body is refused on restore.
        postcard::to_stdvec(&*lock(&self.state)).unwrap_or_default()
    }

    pub(super) fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let saved: HotplugMemoryStateV1 =
            postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        if !saved.plugged.is_of(self.blocks) || saved.requested > self.blocks {
            return Err(format!("it is not of {} blocks", self.blocks));
        }
        *lock(&self.state) = saved;
        Ok(())
    }
}

/// The host's hand on the device. Any thread may use it.
#[derive(Debug, Clone)]
pub struct HotplugMemoryHandle {
    shared: Arc<Shared>,
}

impl HotplugMemoryHandle {
    pub(super) fn new(shared: Arc<Shared>) -> HotplugMemoryHandle {
        HotplugMemoryHandle { shared }
    }

    /// Asks the guest to have so many bytes of the region, rounded up to blocks. It does what it can.
    pub fn request(&self, bytes: u64) {
        let blocks = bytes.div_ceil(BLOCK).min(self.shared.blocks);
        lock(&self.shared.state).requested = blocks;
        if let Some(waker) = &self.shared.waker {
            waker.ring();
        }
    }

    #[must_use]
    pub fn report(&self) -> HotplugMemoryReport {
        self.shared.report()
    }

    /// `changed` is called, on some thread, when blocks have been plugged or unplugged.
    pub fn on_change(&self, changed: impl Fn() + Send + Sync + 'static) {
        *lock(&self.shared.changed) = Some(Box::new(changed));
    }
}
