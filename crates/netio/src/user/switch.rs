//! A network that several guests share, without privilege: each guest's process has a Unix datagram
//! socket in the network's directory, named like the guest, and sends frames straight to the sockets
//! of the others. There is no switch in between, so none can fail or be in the way; each process
//! keeps its own guest honest about who it is.
//!
//! Rejected: a process in the middle (somebody has to start and to watch it), and one multicast
//! socket (it has no backpressure, and reaches more than the network).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, mkdirat, open, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect,
    connect_unspec, recv, sendto, socketpair, sockopt,
};

use crate::segment;
use crate::user::honest::{Identity, is_configuration};
use crate::user::leases::{self, Lease};
use crate::user::packet::ETHERNET;
use crate::user::plan::{GATEWAY_MAC, Mac, Subnet};
use crate::user::world::{Deliver, Emitted, World};
use crate::{Frame, MAX_FRAME, OffloadHeader, Offloads};

const MEMBERS: &str = "members";
/// For a few of the largest frames on their way.
const SOCKET_BUFFER: usize = 4 << 20;
/// Bytes that wait for others whose sockets are full.
const WAITING: usize = 4 << 20;
const RETRY: Duration = Duration::from_millis(1);
/// So often at most, the list of members is looked at for one that is not on it.
const FRESH: Duration = Duration::from_millis(200);

const ALL: Offloads = Offloads {
    checksum: true,
    tso4: true,
    tso6: true,
    ecn: true,
};

/// Who a guest is in a network of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// It exists, and only those who are in the network may write to it.
    pub directory: PathBuf,
    pub name: String,
    pub mac: [u8; 6],
}

#[derive(Debug)]
pub(super) struct Switch {
    directory: OwnedFd,
    socket: OwnedFd,
    pub(super) lease: Lease,
    known: Vec<Lease>,
    read: Option<Instant>,
    pub(super) readable: bool,
    pub(super) queued: bool,
    /// For the guest: the pieces of the last frame that came.
    incoming: VecDeque<(OffloadHeader, Vec<u8>)>,
    /// For others, by name.
    outgoing: VecDeque<(String, Vec<u8>)>,
    waiting: usize,
    buffer: Vec<u8>,
}

impl Switch {
    pub(super) fn join(options: &NetworkOptions) -> io::Result<Switch> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(&options.directory, flags, Mode::empty())?;
        // Whoever made the network has made it, and a jail may not let us.
        if accessat(&directory, MEMBERS, Access::EXISTS, AtFlags::empty()).is_err() {
            mkdirat(&directory, MEMBERS, Mode::RWXU)?;
        }
        let name = &options.name;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', ' ', '\n', '\0']) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if lives(&directory, name) {
            return Err(io::Error::other(format!("a guest {name} is in it already")));
        }
        let lease = leases::take(&directory, name, options.mac, |it| lives(&directory, it))?;
        let _ = unlinkat(&directory, format!("{MEMBERS}/{name}"), AtFlags::empty());
        let socket = datagram_socket()?;
        // As far as the host's limits go.
        let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
        bind(&socket, &address(&directory, name)?)?;
        Ok(Switch {
            directory,
            socket,
            lease,
            known: Vec::new(),
            read: None,
            readable: false,
            queued: false,
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            waiting: 0,
            buffer: vec![0; OffloadHeader::LEN + MAX_FRAME],
        })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Does the guest say who it is? Another's address it may not use.
    pub(super) fn is_honest(&self, frame: &[u8]) -> bool {
        Identity::of(&self.lease, Subnet::USER).is_honest(frame)
    }

    /// Sends a frame of the guest to whom it is for. Answers whether we are it, or among them.
    pub(super) fn forward(
        &mut self,
        world: &mut World,
        offload: &OffloadHeader,
        frame: &[u8],
    ) -> bool {
        let Some(to) = frame.first_chunk::<6>() else {
            return false;
        };
        if *to == GATEWAY_MAC {
            return true;
        }
        let to_all = to[0] & 1 != 0;
        if is_configuration(frame) {
            return to_all;
        }
        self.look(world.now, Some(*to));
        let receivers: Vec<String> = self
            .known
            .iter()
            .filter(|member| member.name != self.lease.name)
            .filter(|member| to_all || member.mac == *to)
            .map(|member| member.name.clone())
            .collect();
        let message = [&offload.to_bytes()[..], frame].concat();
        for name in receivers {
            self.put(name, message.clone());
        }
        self.flush(world);
        to_all
    }

    /// The address of the guest of this name.
    pub(super) fn find(&mut self, now: Instant, name: &str) -> Option<std::net::Ipv4Addr> {
        self.look(now, None);
        let found = self
            .known
            .iter()
            .find(|member| member.name.eq_ignore_ascii_case(name))?;
        (found.name == self.lease.name || lives(&self.directory, &found.name))
            .then(|| found.address())
    }

    /// Reads the list of members, unless `wanted` is on it or it was read just now.
    fn look(&mut self, now: Instant, wanted: Option<Mac>) {
        let is_known = wanted.is_some_and(|mac| self.known.iter().any(|it| it.mac == mac));
        let is_fresh = self
            .read
            .is_some_and(|read| now.duration_since(read) < FRESH);
        if !is_known && !is_fresh {
            self.read = Some(now);
            self.known = leases::read(&self.directory).unwrap_or_default();
        }
    }

    fn put(&mut self, name: String, message: Vec<u8>) {
        if self.waiting + message.len() <= WAITING {
            self.waiting += message.len();
            self.outgoing.push_back((name, message));
        }
    }

    /// Sends what waits. What is for one whose socket is full waits on, in order.
    pub(super) fn flush(&mut self, world: &mut World) {
        let mut full: Vec<String> = Vec::new();
        let mut left = VecDeque::new();
        while let Some((name, message)) = self.outgoing.pop_front() {
            if full.contains(&name) || self.send(&name, &message) == Err(Errno::AGAIN) {
                full.push(name.clone());
                left.push_back((name, message));
            } else {
                // Sent; or its receiver is gone, and with it the frame.
                self.waiting -= message.len();
            }
        }
        self.outgoing = left;
        if !self.outgoing.is_empty() {
            world.remind(Some(world.now + RETRY));
        }
    }

    fn send(&self, name: &str, message: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendto(
            &self.socket,
            message,
            flags,
            &address(&self.directory, name)?,
        )
        .map(|_| ())
    }

    /// Offers the guest the next frame of another.
    pub(super) fn emit(&mut self, world: &World, deliver: &mut Deliver<'_>) -> Emitted {
        while self.incoming.is_empty() && self.readable {
            self.receive(world);
        }
        let Some((offload, frame)) = self.incoming.front() else {
            self.queued = false;
            return Emitted::Nothing;
        };
        let taken = deliver(&Frame {
            offload: *offload,
            parts: &[frame],
        });
        if !taken {
            return Emitted::Refused;
        }
        self.incoming.pop_front();
        Emitted::Taken
    }

    fn receive(&mut self, world: &World) {
        let got = match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((got, _)) => got,
            Err(Errno::INTR) => return,
            Err(_) => {
                self.readable = false;
                return;
            }
        };
        let Some((header, frame)) = self.buffer[..got].split_first_chunk_mut() else {
            return;
        };
        let offload = OffloadHeader::from_bytes(*header);
        if frame.len() >= ETHERNET && offload.is_possible(frame.len(), ALL) {
            let incoming = &mut self.incoming;
            segment::finish(offload, frame, world.guest, |offload, frame| {
                incoming.push_back((offload, frame.to_vec()));
                true
            });
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let member = format!("{MEMBERS}/{}", self.lease.name);
        let _ = unlinkat(&self.directory, member, AtFlags::empty());
    }
}

/// One of a pair whose other is gone: a jail may let a process make no Unix socket but those.
fn datagram_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, _) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // Else it would hear nobody but the other.
    connect_unspec(&socket)?;
    Ok(socket)
}

/// By the open directory: a path of its own could be longer than such an address may be.
fn address(directory: &OwnedFd, name: &str) -> Result<SocketAddrUnix, Errno> {
    let directory = directory.as_fd().as_raw_fd();
    SocketAddrUnix::new(format!("/proc/self/fd/{directory}/{MEMBERS}/{name}"))
}

/// Is a guest of this name in the network?
fn lives(directory: &OwnedFd, name: &str) -> bool {
    let ask = || connect(datagram_socket()?, &address(directory, name)?);
    ask().is_ok()
}

#[cfg(test)]
mod tests;
