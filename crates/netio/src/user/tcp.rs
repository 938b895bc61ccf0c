//! The guest's TCP connections. Each ends here and goes on in a socket of the host, so that the host's
//! TCP does what the network beyond needs, and between us and the guest large segments go as fast as
//! memory is copied.
//!
//! Rejected: a TCP stack from elsewhere, made for real links. Here no packet is lost or reordered, a
//! segment has 64 KiB, and any address must be answered for.

mod emit;
mod flow;
mod receiver;
mod segment;
mod sender;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use crate::user::icmp;
use crate::user::packet::{Packet, TCP};
use crate::user::plan::{GATEWAY4, Pair};
use crate::user::poller::{Edge, Owner};
use crate::user::table::{Id, Table};
use crate::user::world::{Deliver, Emitted, World};

use flow::{Fate, Flow};
use segment::{ACK, RST, SYN, Segment};

/// Connections at a time; each has a descriptor of this process.
pub(super) const LIMIT: usize = 512;
/// So many may hold much in each direction, the others less: at most 92 MiB.
const LARGE_LIMIT: usize = 64;
const LARGE: usize = 512 << 10;
const SMALL: usize = 32 << 10;
/// Connections that were not used for so long make room for new ones.
const IDLE: Duration = Duration::from_secs(120);
/// Where we look for a free port on the gateway.
const FIRST_PORT: u16 = 32_768;

#[derive(Debug)]
pub(super) struct Tcp {
    flows: Table<Pair, Flow>,
    /// Those that may hold much.
    large: usize,
    next_port: u16,
}

impl Tcp {
    pub(super) fn new() -> Tcp {
        Tcp {
            flows: Table::new(LIMIT),
            large: 0,
            next_port: FIRST_PORT,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// A packet of the guest.
    pub(super) fn packet(&mut self, world: &mut World, packet: &Packet<'_>) {
        let Some(segment) = Segment::parse(packet.payload) else {
            return;
        };
        let ends = Pair {
            guest: SocketAddr::new(packet.source, segment.source),
            peer: SocketAddr::new(packet.destination, segment.destination),
        };
        if let Some(id) = self.flows.find(&ends) {
            let now = world.now;
            self.with(world, id, |flow, _| flow.segment(&segment, now));
        } else if segment.flags & (SYN | ACK | RST) == SYN {
            self.open(world, packet, &segment, ends);
        } else if !segment.has(RST) {
            world.answer(refusal(world, packet, &segment));
        }
    }

    /// Has a flow do something, sees to what it needs then, and to its end.
    fn with(
        &mut self,
        world: &mut World,
        id: Id,
        work: impl FnOnce(&mut Flow, &mut World) -> Fate,
    ) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        if work(flow, world) == Fate::Ends {
            self.remove(world, id);
            return;
        }
        world.remind(flow.deadline());
        world.queue(Owner::Tcp(id), &mut flow.queued);
    }

    fn remove(&mut self, world: &mut World, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            self.large -= usize::from(flow.limit() == LARGE);
            world.forget(Owner::Tcp(id), flow.queued);
        }
    }

    /// The guest opens a connection.
    fn open(&mut self, world: &mut World, packet: &Packet<'_>, segment: &Segment<'_>, ends: Pair) {
        let connected = match world.policy.target(ends.peer, world.now) {
            Some(target) if self.has_room(world) => connected(target),
            _ => Err(Errno::CONNREFUSED),
        };
        let added = connected.and_then(|socket| self.add(world, ends, socket));
        match added {
            Ok(id) => {
                if let Some(flow) = self.flows.get(id) {
                    flow.meet(segment);
                }
            }
            Err(error) if icmp::is_unreachable(error) => {
                world.answer(icmp::unreachable(world.mac, packet, error));
            }
            Err(_) => world.answer(refusal(world, packet, segment)),
        }
    }

    /// A client of a published port. The guest sees the gateway call.
    pub(super) fn call(
        &mut self,
        world: &mut World,
        socket: OwnedFd,
        client_port: u16,
        guest_port: u16,
    ) {
        let guest = SocketAddr::new(world.address.into(), guest_port);
        if !self.has_room(world) {
            return;
        }
        let Some(peer) = self.free_port(guest, client_port) else {
            return;
        };
        // A socket that cannot be had closes, and the client sees that.
        if let Ok(id) = self.add(world, Pair { guest, peer }, socket) {
            let now = world.now;
            self.with(world, id, |flow, _| {
                flow.call(now);
                Fate::Stays
            });
        }
    }

    /// A port of the gateway that the guest has no connection with: the client's own, if possible.
    fn free_port(&mut self, guest: SocketAddr, wanted: u16) -> Option<SocketAddr> {
        for attempt in 0..=LIMIT {
            let port = if attempt == 0 {
                wanted
            } else {
                self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
                self.next_port
            };
            let peer = SocketAddr::new(GATEWAY4.into(), port);
            if port != 0 && self.flows.find(&Pair { guest, peer }).is_none() {
                return Some(peer);
            }
        }
        None
    }

    fn add(&mut self, world: &mut World, ends: Pair, socket: OwnedFd) -> Result<Id, Errno> {
        // The guest's own stack decides what is worth a packet.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let _ = sockopt::set_socket_keepalive(&socket, true);
        let large = self.large < LARGE_LIMIT;
        let limit = if large { LARGE } else { SMALL };
        let mut sequence = [0; 4];
        let _ = rustix::rand::getrandom(&mut sequence, rustix::rand::GetRandomFlags::NONBLOCK);
        let sequence = u32::from_ne_bytes(sequence);
        let added = self.flows.insert(ends, |id| {
            world.poller.add(&socket, Owner::Tcp(id)).ok()?;
            Some(Flow::new(ends, socket, sequence, limit, world.now))
        });
        self.large += usize::from(large && added.is_some());
        added.ok_or(Errno::NOMEM)
    }

    /// Makes room for one more, if there is none, by what has been idle longest.
    fn has_room(&mut self, world: &mut World) -> bool {
        if self.flows.is_full() {
            let now = world.now;
            let flows = self.flows.iter_mut().map(|(id, flow)| (flow.used, id));
            let oldest = flows.min_by_key(|(used, _)| *used);
            if let Some((used, id)) = oldest
                && now.duration_since(used) > IDLE
            {
                self.remove(world, id);
            }
        }
        !self.flows.is_full()
    }

    /// A socket of the host has changed.
    pub(super) fn changed(&mut self, world: &mut World, id: Id, edge: Edge) {
        self.with(world, id, |flow, world| {
            let error = flow.socket_changed(edge.readable, edge.writable, world.now);
            match error {
                Some(error) if icmp::is_unreachable(error) => {
                    let Pair { guest, peer } = flow.ends;
                    world.answer(icmp::unreachable_flow(world.mac, guest, peer, TCP, error));
                    Fate::Ends
                }
                _ => Fate::Stays,
            }
        });
    }

    pub(super) fn emit(&mut self, world: &mut World, id: Id, deliver: &mut Deliver<'_>) -> Emitted {
        let Some(flow) = self.flows.get(id) else {
            return Emitted::Nothing;
        };
        let emitted = flow.emit(world, deliver);
        world.remind(flow.deadline());
        if emitted == Emitted::Nothing {
            flow.queued = false;
        }
        if emitted == Emitted::Last {
            // The caller takes it off the queue.
            flow.queued = false;
            self.remove(world, id);
        }
        emitted
    }

    /// Looks who was waiting for too long.
    pub(super) fn tick(&mut self, world: &mut World) {
        let late: Vec<Id> = self
            .flows
            .iter_mut()
            .filter(|(_, flow)| flow.deadline().is_some())
            .map(|(id, _)| id)
            .collect();
        for id in late {
            let now = world.now;
            self.with(world, id, |flow, _| flow.late(now));
        }
    }
}

/// A socket on its way to `target`.
fn connected(target: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// The reset that answers a segment of no connection. Spec: RFC 9293, "Reset Generation".
fn refusal(world: &World, packet: &Packet<'_>, segment: &Segment<'_>) -> Option<Vec<u8>> {
    let (sequence, acknowledged, flags) = if segment.has(ACK) {
        (segment.acknowledged, 0, RST)
    } else {
        let next = segment.sequence.wrapping_add(segment.len());
        (0, next, RST | ACK)
    };
    let mut message = segment.destination.to_be_bytes().to_vec();
    message.extend(segment.source.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(acknowledged.to_be_bytes());
    message.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    let ends = crate::user::header::Ends::new(packet.destination, packet.source)?;
    Some(crate::user::header::frame(
        world.mac,
        ends,
        TCP,
        &mut message,
        16,
        true,
    ))
}
