//! What goes by a link, counted.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Frame, Link, OffloadHeader, Offloads};

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
}

impl Traffic {
    /// What the guest has sent.
    #[must_use]
    pub fn sent(&self) -> Counts {
        self.sent.now()
    }

    #[must_use]
    pub fn received(&self) -> Counts {
        self.received.now()
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
