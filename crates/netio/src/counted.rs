//! What goes by a link, counted.

use std::ops::{Add, Sub};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Frame, InterfaceCounts, Link, OffloadHeader, Offloads};

/// Of one direction.
#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Of one direction: frames, of which some may be sent as several, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub frames: u64,
    pub bytes: u64,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            frames: self.frames.wrapping_add(other.frames),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

impl Sub for Counts {
    type Output = Counts;

    fn sub(self, other: Counts) -> Counts {
        Counts {
            frames: self.frames.wrapping_sub(other.frames),
            bytes: self.bytes.wrapping_sub(other.bytes),
        }
    }
}

impl Counters {
    fn count(&self, len: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn now(&self) -> Counts {
        Counts {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// What a card's links have carried since they were made, as the guest sees it: with what a firewall drops of what
/// it sends, and without what is dropped before it. Any thread may ask.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: Counters,
    received: Counters,
    passing: Mutex<Passing>,
}

/// What goes by the kernel rather than by a link of ours.
#[derive(Debug, Default)]
struct Passing {
    interface: Option<Arc<InterfaceCounts>>,
    /// Pairs of queues that the kernel serves now.
    pairs: usize,
    /// What the interface had counted when the first of them began.
    since: [Counts; 2],
    /// What went while the kernel served some, before that.
    before: [Counts; 2],
    /// Why it serves none.
    why_not: String,
}

impl Passing {
    fn now(&self) -> [Counts; 2] {
        let interface = self.interface.as_ref().filter(|_| self.pairs > 0);
        let now = interface.and_then(|interface| interface.now());
        // Of one that has gone meanwhile nobody knows.
        let now = now.unwrap_or(self.since);
        [0, 1].map(|way| self.before[way] + (now[way] - self.since[way]))
    }
}

impl Traffic {
    /// What the guest has sent.
    #[must_use]
    pub fn sent(&self) -> Counts {
        self.sent.now() + self.passing().now()[0]
    }

    #[must_use]
    pub fn received(&self) -> Counts {
        self.received.now() + self.passing().now()[1]
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel moves frames of one more pair of queues from now on, and the interface counts them.
    pub fn kernel_begins(&self, interface: &Arc<InterfaceCounts>) {
        let mut passing = self.passing();
        if passing.pairs == 0 {
            passing.since = interface.now().unwrap_or_default();
            passing.interface = Some(Arc::clone(interface));
        }
        passing.pairs += 1;
    }

    /// The kernel serves no pair now, for this reason; or this one does not keep it from others.
    pub fn kernel_idle(&self, why: &str) {
        let mut passing = self.passing();
        if passing.why_not != why {
            passing.why_not = why.to_owned();
        }
    }

    /// Whether the kernel moves the card's frames (vhost-net), or why not.
    ///
    /// # Errors
    /// With the reason, for people.
    pub fn by_kernel(&self) -> Result<(), String> {
        let passing = self.passing();
        if passing.pairs > 0 {
            Ok(())
        } else {
            Err(passing.why_not.clone())
        }
    }

    /// The kernel has moved the last frame of one of them.
    pub fn kernel_ends(&self) {
        let mut passing = self.passing();
        let now = passing.interface.as_ref().and_then(|it| it.now());
        let now = now.unwrap_or(passing.since);
        passing.before = [0, 1].map(|way| passing.before[way] + (now[way] - passing.since[way]));
        passing.since = now;
        passing.pairs = passing.pairs.saturating_sub(1);
    }
}

/// A link whose traffic is counted.
#[derive(Debug)]
pub struct Counted {
    link: Box<dyn Link>,
    traffic: Arc<Traffic>,
}

impl Counted {
    #[must_use]
    pub fn new(link: Box<dyn Link>, traffic: Arc<Traffic>) -> Counted {
        Counted { link, traffic }
    }
}

impl Link for Counted {
    fn offloads(&self) -> Offloads {
        self.link.offloads()
    }

    fn accept(&mut self, guest: Offloads) {
        self.link.accept(guest);
    }

    fn use_queue(&mut self, wanted: bool) {
        self.link.use_queue(wanted);
    }

    fn send(&mut self, offload: &OffloadHeader, frame: &[u8]) {
        self.traffic.sent.count(frame.len());
        self.link.send(offload, frame);
    }

    fn turn(&mut self) {
        self.link.turn();
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool {
        let received = &self.traffic.received;
        self.link.receive(&mut |frame| {
            let taken = deliver(frame);
            if taken {
                received.count(frame.len());
            }
            taken
        })
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        self.link.events()
    }

    fn wake_in(&self) -> Option<Duration> {
        self.link.wake_in()
    }

    fn mtu(&self) -> Option<u16> {
        self.link.mtu()
    }
}
