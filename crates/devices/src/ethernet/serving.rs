//! The thread that moves a card's frames, and the lock that it shares with the registers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use memory::GuestMemory;
use netio::{DATA_VALID, Frame, Link, NEEDS_CSUM, Offloads};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Adapter, Received, Sent};
use crate::Line;
use crate::pci::Pin;
use crate::ports::locked;
use crate::virtio::Doorbell;
use crate::virtio::net::Gates;

/// The machine saves, restores or is paused.
pub(super) const HOLD_PAUSED: u8 = 1 << 0;
/// The function may not master the bus.
pub(super) const HOLD_NO_MASTER: u8 = 1 << 1;

/// Frames each way, and descriptors, before the registers have their turn.
const BATCH: usize = 32;

#[derive(Debug)]
struct Shared<A> {
    adapter: Mutex<A>,
    /// How many want it beside the thread.
    waiting: AtomicUsize,
    memory: GuestMemory,
    pin: Pin,
    bell: Doorbell,
    held: AtomicU8,
    ending: AtomicBool,
}

/// What only the thread has.
#[derive(Debug)]
struct Wire {
    link: Box<dyn Link>,
    gates: Gates,
    events: Option<OwnedFd>,
    frame: Vec<u8>,
    inward: Vec<u8>,
    /// The guest has no buffers, or has had all that it may: nothing comes in, whatever waits.
    closed: bool,
}

/// How the thread sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Sleep(Option<Duration>),
}

#[derive(Debug)]
pub(super) struct Serving<A> {
    shared: Arc<Shared<A>>,
    wire: Option<Wire>,
    thread: Option<JoinHandle<()>>,
}

impl<A: Adapter> Serving<A> {
    pub(super) fn new(
        adapter: A,
        mut link: Box<dyn Link>,
        gates: Gates,
        memory: GuestMemory,
        line: Arc<dyn Line>,
    ) -> io::Result<Serving<A>> {
        // Checksums that are left to us are right when we have made them.
        link.accept(Offloads {
            checksum: link.offloads().checksum,
            ..Offloads::NONE
        });
        let events = link
            .events()
            .map(|fd| fd.try_clone_to_owned())
            .transpose()?;
        Ok(Serving {
            shared: Arc::new(Shared {
                adapter: Mutex::new(adapter),
                waiting: AtomicUsize::new(0),
                memory,
                pin: Pin::new(line),
                bell: Doorbell::new()?,
                held: AtomicU8::new(HOLD_NO_MASTER),
                ending: AtomicBool::new(false),
            }),
            wire: Some(Wire {
                link,
                gates,
                events,
                frame: Vec::new(),
                inward: Vec::new(),
                closed: false,
            }),
            thread: None,
        })
    }

    pub(super) fn pin(&self) -> &Pin {
        &self.shared.pin
    }

    /// Does something to the adapter between two batches. `body` answers also whether the thread has
    /// something to do by it.
    pub(super) fn with<T>(&self, body: impl FnOnce(&mut A) -> (T, bool)) -> T {
        let mut adapter = self.shared.wanted();
        let (answer, work) = body(&mut adapter);
        self.shared.pin.set(adapter.interrupts());
        drop(adapter);
        if work {
            self.shared.bell.ring();
        }
        answer
    }

    /// No frame is under way when this returns, and none begins until `why` is released.
    pub(super) fn hold(&self, why: u8) {
        self.shared.held.fetch_or(why, Ordering::AcqRel);
        drop(self.shared.wanted());
    }

    /// Takes one reason to be idle away. The thread begins with the first time that there is none.
    pub(super) fn release(&mut self, why: u8) {
        let before = self.shared.held.fetch_and(!why, Ordering::AcqRel);
        if before & !why == 0 && self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            if let Some(mut wire) = self.wire.take() {
                // Without a thread left on the host, the card is one without a cable.
                let run = move || shared.run(&mut wire);
                self.thread = threads::spawn(threads::Work::Network, A::KIND, run).ok();
            }
        }
        if before & why != 0 {
            self.shared.bell.ring();
        }
    }
}

impl<A> Drop for Serving<A> {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.shared.bell.ring();
        if let Some(thread) = self.thread.take() {
            // It ends after at most one batch. A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl<A> Shared<A> {
    /// The adapter for everybody but the thread, which lets them go first.
    fn wanted(&self) -> MutexGuard<'_, A> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let adapter = locked(&self.adapter);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        adapter
    }
}

impl<A: Adapter> Shared<A> {
    fn run(&self, wire: &mut Wire) {
        while !self.ending.load(Ordering::Acquire) {
            // A mutex is not fair: who waits would not get it from one who takes it again at once.
            if self.waiting.load(Ordering::SeqCst) != 0 {
                std::thread::yield_now();
                continue;
            }
            match self.turn(wire) {
                Next::Again => {}
                Next::Sleep(timeout) => self.sleep(wire, timeout),
            }
        }
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire) != 0
    }

    fn sleep(&self, wire: &Wire, timeout: Option<Duration>) {
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        let listening = !wire.closed && !self.is_held();
        let events = wire.events.as_ref().filter(|_| listening);
        fds.extend(events.map(|events| PollFd::new(events, PollFlags::IN)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // An error leaves us to look, which is never wrong.
        let _ = poll(&mut fds, timeout.as_ref());
        self.bell.take();
    }

    /// A batch each way.
    fn turn(&self, wire: &mut Wire) -> Next {
        let mut adapter = locked(&self.adapter);
        // Asked under the lock: whoever holds us took it after saying so.
        if self.is_held() {
            return Next::Sleep(None);
        }
        let sending = self.send(&mut adapter, wire);
        wire.link.turn();
        let receiving = self.receive(&mut adapter, wire);
        self.pin.set(adapter.interrupts());
        match (sending, receiving) {
            (Next::Again, _) | (_, Next::Again) => Next::Again,
            (Next::Sleep(one), Next::Sleep(other)) => {
                let all = [one, other, wire.link.wake_in()];
                Next::Sleep(all.into_iter().flatten().min())
            }
        }
    }

    fn send(&self, adapter: &mut A, wire: &mut Wire) -> Next {
        let Wire {
            link, gates, frame, ..
        } = wire;
        let accepted = link.offloads();
        for _ in 0..BATCH {
            if let Some(wait) = gates.from_guest.wait() {
                return Next::Sleep(Some(wait));
            }
            match adapter.send(&self.memory, frame) {
                Sent::Nothing => return Next::Sleep(None),
                Sent::Part => {}
                Sent::Frame(offload) => {
                    gates.from_guest.spend(frame.len() as u64);
                    netio::finish(offload, frame, accepted, |offload, frame| {
                        link.send(&offload, frame);
                        true
                    });
                    frame.clear();
                }
            }
        }
        Next::Again
    }

    fn receive(&self, adapter: &mut A, wire: &mut Wire) -> Next {
        let Wire {
            link,
            gates,
            inward,
            closed,
            ..
        } = wire;
        *closed = false;
        for _ in 0..BATCH {
            if let Some(wait) = gates.to_guest.wait() {
                *closed = true;
                return Next::Sleep(Some(wait));
            }
            let mut deliver = |frame: &Frame<'_>| {
                let received = give(adapter, &self.memory, inward, frame);
                *closed = received == Received::NoRoom;
                if !*closed {
                    gates.to_guest.spend(frame.len() as u64);
                }
                !*closed
            };
            if !link.receive(&mut deliver) {
                return Next::Sleep(None);
            }
        }
        Next::Again
    }
}

/// Finishes a frame and gives it to the guest.
fn give<A: Adapter>(
    adapter: &mut A,
    memory: &GuestMemory,
    buffer: &mut Vec<u8>,
    frame: &Frame<'_>,
) -> Received {
    buffer.clear();
    for part in frame.parts {
        buffer.extend_from_slice(part);
    }
    let valid = frame.offload.flags & (NEEDS_CSUM | DATA_VALID) != 0;
    let mut received = Received::Done;
    netio::finish(frame.offload, buffer, Offloads::NONE, |_, frame| {
        received = adapter.receive(memory, frame, valid);
        received == Received::Done
    });
    received
}
