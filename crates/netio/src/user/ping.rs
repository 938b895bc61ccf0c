//! The guest's echo requests to the world, by the host's ping sockets, or raw ones where only those
//! are allowed. Where neither is, they stay unanswered. Spec: RFC 792, RFC 4443; icmp(7).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};

use crate::user::header::Ends;
use crate::user::icmp::{ECHO_REPLY4, ECHO_REPLY6, ECHO_REQUEST4, ECHO_REQUEST6, message_frame};
use crate::user::packet::{Packet, word};
use crate::user::poller::{Edge, Owner};
use crate::user::table::{Id, Table};
use crate::user::world::{Deliver, Emitted, World};
use crate::{Checksum, Frame, OffloadHeader};

const LIMIT: usize = 32;
const IDLE: Duration = Duration::from_secs(30);
const LONGEST: usize = u16::MAX as usize;

/// Who asks whom, and the number by which the asker knows its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asking {
    guest: IpAddr,
    peer: IpAddr,
    number: u16,
}

#[derive(Debug)]
struct Flow {
    asking: Asking,
    socket: OwnedFd,
    /// The number on the wire, where the kernel does not choose it.
    raw: Option<u16>,
    readable: bool,
    queued: bool,
    used: Instant,
}

#[derive(Debug)]
pub(super) struct Ping {
    flows: Table<Asking, Flow>,
    buffer: Vec<u8>,
}

impl Ping {
    pub(super) fn new() -> Ping {
        Ping {
            flows: Table::new(LIMIT),
            buffer: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// An echo request of the guest.
    pub(super) fn packet(&mut self, world: &mut World, packet: &Packet<'_>) {
        let Some(number) = word(packet.payload, 4).filter(|_| packet.payload.len() >= 8) else {
            return;
        };
        let asking = Asking {
            guest: packet.source,
            peer: packet.destination,
            number,
        };
        let id = match self.flows.find(&asking) {
            Some(id) => Some(id),
            None => self.open(world, asking),
        };
        if let Some(flow) = id.and_then(|id| self.flows.get(id)) {
            flow.used = world.now;
            flow.send(packet.payload);
        }
    }

    fn open(&mut self, world: &mut World, asking: Asking) -> Option<Id> {
        if !world.policy.may_reach(asking.peer) {
            return None;
        }
        if self.flows.is_full() {
            let flows = self.flows.iter_mut().map(|(id, flow)| (flow.used, id));
            let (_, id) = flows.min_by_key(|(used, _)| *used)?;
            self.remove(world, id);
        }
        let (socket, raw) = echo_socket(asking.peer).ok()?;
        let id = self.flows.insert(asking, |id| {
            world.poller.add(&socket, Owner::Ping(id)).ok()?;
            Some(Flow {
                asking,
                socket,
                raw,
                readable: false,
                queued: false,
                used: world.now,
            })
        })?;
        world.remind(Some(world.now + IDLE));
        Some(id)
    }

    fn remove(&mut self, world: &mut World, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            world.forget(Owner::Ping(id), flow.queued);
        }
    }

    pub(super) fn changed(&mut self, world: &mut World, id: Id, edge: Edge) {
        if let Some(flow) = self.flows.get(id)
            && edge.readable
        {
            flow.readable = true;
            world.queue(Owner::Ping(id), &mut flow.queued);
        }
    }

    pub(super) fn emit(&mut self, world: &mut World, id: Id, deliver: &mut Deliver<'_>) -> Emitted {
        let Some(flow) = self.flows.get(id) else {
            return Emitted::Nothing;
        };
        self.buffer.resize(LONGEST, 0);
        let answer = flow.receive(&mut self.buffer);
        let Some(message) = answer else {
            flow.queued = false;
            return Emitted::Nothing;
        };
        let Some(ends) = Ends::new(flow.asking.peer, flow.asking.guest) else {
            return Emitted::Nothing;
        };
        let frame = message_frame(world.mac, ends, message);
        if frame.len() > usize::from(world.mtu) {
            return Emitted::Taken;
        }
        // Of a guest without room, the answer is lost, as it may be in any network.
        deliver(&Frame {
            offload: OffloadHeader::default(),
            parts: &[&frame],
        });
        Emitted::Taken
    }

    pub(super) fn tick(&mut self, world: &mut World) {
        let now = world.now;
        let mut silent = Vec::new();
        for (id, flow) in self.flows.iter_mut() {
            if flow.used + IDLE <= now {
                silent.push(id);
            } else {
                world.remind(Some(flow.used + IDLE));
            }
        }
        for id in silent {
            self.remove(world, id);
        }
    }
}

/// A socket to `peer`; with a number of our own where it is raw.
fn echo_socket(peer: IpAddr) -> Result<(OwnedFd, Option<u16>), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, protocol) = match peer {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let open = |kind| socket_with(family, kind, flags, Some(protocol));
    let (socket, raw) = match open(SocketType::DGRAM) {
        Ok(socket) => (socket, None),
        Err(_) => {
            let mut number = [0; 2];
            let _ = rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::NONBLOCK);
            (open(SocketType::RAW)?, Some(u16::from_ne_bytes(number)))
        }
    };
    connect(&socket, &SocketAddr::new(peer, 0))?;
    Ok((socket, raw))
}

impl Flow {
    fn kinds(&self) -> (u8, u8) {
        match self.asking.peer {
            IpAddr::V4(_) => (ECHO_REQUEST4, ECHO_REPLY4),
            IpAddr::V6(_) => (ECHO_REQUEST6, ECHO_REPLY6),
        }
    }

    fn send(&self, request: &[u8]) {
        let mut message = request.to_vec();
        message[0] = self.kinds().0;
        message[2..4].fill(0);
        if let Some(number) = self.raw {
            message[4..6].copy_from_slice(&number.to_be_bytes());
        }
        if self.asking.peer.is_ipv4() {
            let sum = Checksum::default().over(&message).finish();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        // What is not sent is not answered.
        let _ = send(
            &self.socket,
            &message,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }

    /// The next answer, as the guest knows it, without its checksum.
    fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
        while self.readable {
            let got = match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((got, _)) => got,
                Err(Errno::INTR) => continue,
                Err(_) => {
                    self.readable = false;
                    break;
                }
            };
            // A raw socket of version 4 gives the IP header as well.
            let skip = match self.raw {
                Some(_) if self.asking.peer.is_ipv4() => 4 * usize::from(buffer[0] & 0xf),
                _ => 0,
            };
            let message = buffer.get(skip..got).unwrap_or_default();
            let is_ours = self
                .raw
                .is_none_or(|number| word(message, 4) == Some(number));
            if message.len() >= 8 && message[0] == self.kinds().1 && is_ours {
                let message = &mut buffer[skip..got];
                message[2..4].fill(0);
                message[4..6].copy_from_slice(&self.asking.number.to_be_bytes());
                return Some(message);
            }
        }
        None
    }
}
