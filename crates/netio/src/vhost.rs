//! A tap whose frames the host's kernel moves itself, between the interface and a guest's rings (vhost-net).
//! Spec: Linux include/uapi/linux/vhost.h; drivers/vhost/net.c for what is not said there.
//!
//! A [`Vhost`] is one pair of queues. It is at rest, or at work: then the kernel reads and writes the two rings
//! and all that their descriptors name, and nobody else may. So the pair goes to and fro:
//!
//! - [`Vhost::begin`] gives the kernel the rings as they stand, and the tap last of all, with which its work begins.
//! - [`Vhost::end`] takes the tap away. When that returns the kernel does nothing more, all that it had begun is
//!   answered, and its place in each ring is known: the rings are as if this process had served them.
//!
//! The kernel's thread works with the memory of this process, as one of its own, in its control groups. What a guest
//! writes into its rings reaches no more than a [`MemoryTable`] says; what makes no sense there stops the ring and
//! is told by [`Heard::Error`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::vhost_raw::Device;
pub use crate::vhost_raw::MemoryTable;

const DEVICE: &str = "/dev/vhost-net";

/// The rings of a pair, as the kernel counts them. Spec: drivers/vhost/net.c, VHOST_NET_VQ_RX.
const RINGS: [u32; 2] = [0, 1];

#[derive(Debug, Error)]
pub enum VhostError {
    #[error("cannot open {DEVICE}")]
    Open { source: io::Error },
    #[error("no event descriptors for {DEVICE}")]
    Events { source: io::Error },
    #[error("the host's vhost-net does not know the features {missing:#x}")]
    Features { missing: u64 },
    #[error("the host's vhost-net refused to {what}")]
    Refused {
        what: &'static str,
        source: io::Error,
    },
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> VhostError {
    move |source| VhostError::Refused { what, source }
}

/// Where the three parts of a ring are in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingPlace {
    pub descriptors: u64,
    /// The available ring.
    pub driver: u64,
    /// The used ring.
    pub device: u64,
}

/// A ring as the kernel is to go on with it.
#[derive(Debug, Clone, Copy)]
pub struct LentRing<'a> {
    pub place: RingPlace,
    /// Descriptors: a power of two.
    pub size: u16,
    pub next_available: u16,
    /// Rung when the guest has notified.
    pub kick: BorrowedFd<'a>,
}

/// What an event descriptor of a ring's is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The driver has notified.
    Kick,
    /// The driver is to be interrupted.
    Call,
    /// The ring makes no sense.
    Error,
}

/// What is asked of the kernel. Rings are 0, with frames for the guest, and 1.
pub trait Requests: Send + std::fmt::Debug {
    /// This process's memory is what addresses mean. Once, before all else.
    ///
    /// # Errors
    /// As all of these, when the kernel refuses.
    fn own(&self) -> io::Result<()>;
    /// # Errors
    /// See above.
    fn features(&self) -> io::Result<u64>;
    /// # Errors
    /// See above.
    fn set_features(&self, features: u64) -> io::Result<()>;
    /// # Errors
    /// See above.
    fn set_memory(&self, memory: &MemoryTable) -> io::Result<()>;
    /// # Errors
    /// See above.
    fn set_size(&self, ring: u32, size: u16) -> io::Result<()>;
    /// # Errors
    /// See above.
    fn set_place(&self, ring: u32, place: &RingPlace) -> io::Result<()>;
    /// # Errors
    /// See above.
    fn set_base(&self, ring: u32, next_available: u16) -> io::Result<()>;
    /// # Errors
    /// See above.
    fn base(&self, ring: u32) -> io::Result<u16>;
    /// # Errors
    /// See above.
    fn set_signal(&self, ring: u32, which: Signal, event: BorrowedFd<'_>) -> io::Result<()>;
    /// With a tap the work begins. Without, it has ended when this returns.
    ///
    /// # Errors
    /// See above.
    fn set_backend(&self, ring: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()>;
}

/// What the kernel has told since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// These rings' drivers are to be interrupted.
    Calls([bool; 2]),
    /// A ring makes no sense to it. It goes on with neither.
    Error,
}

/// A pair of queues of a tap, served by the kernel or by nobody.
#[derive(Debug)]
pub struct Vhost {
    kernel: Box<dyn Requests>,
    tap: OwnedFd,
    memory: MemoryTable,
    calls: [OwnedFd; 2],
    error: OwnedFd,
    /// Readable when one of these is, or, at rest, the tap.
    events: OwnedFd,
    /// The kernel knows whose memory it is.
    owned: bool,
    at_work: bool,
}

impl Vhost {
    /// # Errors
    /// When the host has no such device for this process.
    pub fn open(tap: OwnedFd, memory: MemoryTable) -> Result<Vhost, VhostError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = rustix::fs::open(DEVICE, flags, Mode::empty());
        let device = device.map_err(|error| VhostError::Open {
            source: error.into(),
        })?;
        Vhost::over(Box::new(Device(device)), tap, memory)
    }

    /// Over a kernel of the caller's.
    ///
    /// # Errors
    /// When the host has no event descriptors left.
    pub fn over(
        kernel: Box<dyn Requests>,
        tap: OwnedFd,
        memory: MemoryTable,
    ) -> Result<Vhost, VhostError> {
        let prepare = || -> io::Result<Vhost> {
            let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
            let (calls, error) = ([event()?, event()?], event()?);
            let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            for event in [&calls[0], &calls[1], &error] {
                watch(&events, event)?;
            }
            watch(&events, &tap)?;
            Ok(Vhost {
                kernel,
                tap,
                memory,
                calls,
                error,
                events,
                owned: false,
                at_work: false,
            })
        };
        prepare().map_err(|source| VhostError::Events { source })
    }

    /// Readable when it is time for [`Vhost::heard`], or, while the kernel is not at work, when there are frames.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.at_work
    }

    /// As [`MemoryTable::host`].
    #[must_use]
    pub fn host(&self, guest: u64, len: u64) -> Option<u64> {
        self.memory.host(guest, len)
    }

    /// The kernel serves these rings from now on, of which the first takes frames to the guest. `features` are what
    /// the driver has accepted and the kernel has to know.
    ///
    /// # Errors
    /// When the kernel refuses. Nothing has begun then.
    pub fn begin(&mut self, features: u64, rings: [LentRing<'_>; 2]) -> Result<(), VhostError> {
        let begun = self.try_begin(features, &rings);
        if begun.is_err() {
            self.stop();
        }
        begun
    }

    fn try_begin(&mut self, features: u64, rings: &[LentRing<'_>; 2]) -> Result<(), VhostError> {
        if !self.owned {
            self.kernel.own().map_err(refused("serve this process"))?;
            self.owned = true;
            let set = self.kernel.set_memory(&self.memory);
            set.map_err(refused("take the guest's memory"))?;
            for ring in RINGS {
                let [call, error] = [&self.calls[ring as usize], &self.error];
                let set = self.kernel.set_signal(ring, Signal::Call, call.as_fd());
                let set =
                    set.and_then(|()| self.kernel.set_signal(ring, Signal::Error, error.as_fd()));
                set.map_err(refused("take an event descriptor"))?;
            }
        }
        let known = self
            .kernel
            .features()
            .map_err(refused("tell its features"))?;
        if features & !known != 0 {
            return Err(VhostError::Features {
                missing: features & !known,
            });
        }
        let set = self.kernel.set_features(features);
        set.map_err(refused("take the driver's features"))?;
        for (index, ring) in RINGS.into_iter().zip(rings) {
            self.lend(index, ring).map_err(refused("take a ring"))?;
        }
        // Frames wait for the kernel from here on.
        let _ = epoll::delete(&self.events, &self.tap);
        self.at_work = true;
        for ring in RINGS {
            let set = self.kernel.set_backend(ring, Some(self.tap.as_fd()));
            set.map_err(refused("take the tap"))?;
        }
        Ok(())
    }

    fn lend(&self, index: u32, ring: &LentRing<'_>) -> io::Result<()> {
        self.kernel.set_size(index, ring.size)?;
        self.kernel.set_base(index, ring.next_available)?;
        self.kernel.set_place(index, &ring.place)?;
        self.kernel.set_signal(index, Signal::Kick, ring.kick)
    }

    /// The kernel serves the rings no more. Answers how far it has come in each: the next available index, up to
    /// which all is answered.
    ///
    /// # Errors
    /// When it does not say so, which it does of any ring that there is.
    pub fn end(&mut self) -> Result<[u16; 2], VhostError> {
        self.stop();
        let base = |ring| self.kernel.base(ring).map_err(refused("give a ring back"));
        Ok([base(RINGS[0])?, base(RINGS[1])?])
    }

    fn stop(&mut self) {
        if !self.at_work {
            return;
        }
        self.at_work = false;
        for ring in RINGS {
            // A ring without a tap has none to lose.
            let _ = self.kernel.set_backend(ring, None);
        }
        let _ = watch(&self.events, &self.tap);
        // Who has the rings now tells their drivers.
        for event in [&self.calls[0], &self.calls[1], &self.error] {
            take(event);
        }
    }

    /// What the kernel has told. Does not wait.
    pub fn heard(&self) -> Heard {
        if take(&self.error) {
            return Heard::Error;
        }
        Heard::Calls([take(&self.calls[0]), take(&self.calls[1])])
    }
}

impl Drop for Vhost {
    /// A copy of this process, which writes the guest's memory, may have the descriptors for longer.
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(events: &OwnedFd, event: &OwnedFd) -> io::Result<()> {
    let data = epoll::EventData::new_u64(0);
    epoll::add(events, event, data, epoll::EventFlags::IN)?;
    Ok(())
}

/// Was it rung since the last look?
fn take(event: &OwnedFd) -> bool {
    rustix::io::read(event, &mut [0; 8]).is_ok()
}

#[cfg(test)]
mod testing_raw;
#[cfg(test)]
mod tests;
