//! Many sockets in one descriptor. Each is asked for once, and its changes are noted in its flow:
//! edges, so that a flow which cannot go on costs nothing until it can.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};

use crate::user::table::Id;

/// Events taken at a time.
const BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
}

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Tcp(Id),
    Udp(Id),
    Ping(Id),
    /// A published port, by number.
    Forward(u32),
    /// The other guests of the network.
    Switch,
    /// A bridge of the host's, and who is on it.
    Bridge,
}

/// What has changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        Ok(Poller {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    pub(super) fn add(&self, socket: impl AsFd, owner: Owner) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(owner.to_token());
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    /// Takes up to a batch of what has happened; the rest stays for the next call.
    pub(super) fn take(&self, mut tell: impl FnMut(Owner, Edge)) {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let waited = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()));
        let Ok((events, _)) = waited else {
            return;
        };
        let broken = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        for event in events {
            let flags = event.flags;
            let edge = Edge {
                readable: flags
                    .intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | broken),
                writable: flags.intersects(epoll::EventFlags::OUT | broken),
            };
            if let Some(owner) = Owner::from_token(event.data.u64()) {
                tell(owner, edge);
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Owner {
    fn to_token(self) -> u64 {
        let (kind, id) = match self {
            Owner::Tcp(id) => (0, id),
            Owner::Udp(id) => (1, id),
            Owner::Ping(id) => (2, id),
            Owner::Forward(number) => (3, Id::new(number, 0)),
            Owner::Switch => (4, Id::new(0, 0)),
            Owner::Bridge => (5, Id::new(0, 0)),
        };
        kind << 56 | u64::from(id.generation()) << 32 | u64::from(id.index())
    }

    fn from_token(token: u64) -> Option<Owner> {
        let [kind, g2, g1, g0, i3, i2, i1, i0] = token.to_be_bytes();
        let index = u32::from_be_bytes([i3, i2, i1, i0]);
        let id = Id::new(index, u32::from_be_bytes([0, g2, g1, g0]));
        match kind {
            0 => Some(Owner::Tcp(id)),
            1 => Some(Owner::Udp(id)),
            2 => Some(Owner::Ping(id)),
            3 => Some(Owner::Forward(index)),
            4 => Some(Owner::Switch),
            5 => Some(Owner::Bridge),
            _ => None,
        }
    }
}
