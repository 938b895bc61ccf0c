//! The guest's UDP: a connected socket of the host for each pair of ends, so that only who was asked
//! can answer, and errors come back; and clients of published ports, which share that port's socket.
//! Spec: RFC 768; RFC 4787 for how long a silent flow is kept.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, sendto,
    socket_with,
};

use crate::user::dhcp;
use crate::user::header::{Ends, Header, frame};
use crate::user::icmp;
use crate::user::packet::{ETHERNET, Packet, UDP, word};
use crate::user::plan::{GATEWAY4, Mac, Pair};
use crate::user::policy::{DNS, is_resolver};
use crate::user::poller::{Edge, Owner};
use crate::user::table::{Id, Table};
use crate::user::world::{Deliver, Emitted, World};
use crate::{Frame, NEEDS_CSUM, OffloadHeader};

const LIMIT: usize = 256;
const HEADER: usize = 8;
/// Where the checksum stands in it.
const CHECKSUM: u16 = 6;
const IDLE: Duration = Duration::from_secs(60);
/// A question to the resolver is answered soon or not at all.
const IDLE_DNS: Duration = Duration::from_secs(8);
/// Bytes of the longest datagram.
const LONGEST: usize = 65_507;

#[derive(Debug)]
enum Socket {
    Own(OwnedFd),
    /// Of a published port, and the client on it.
    Shared(Arc<OwnedFd>, SocketAddr),
}

#[derive(Debug)]
struct Flow {
    ends: Pair,
    socket: Socket,
    readable: bool,
    queued: bool,
    used: Instant,
    answered: bool,
    /// The guest had no room for it.
    held: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Udp {
    flows: Table<Pair, Flow>,
    buffer: Vec<u8>,
}

impl Udp {
    pub(super) fn new() -> Udp {
        Udp {
            flows: Table::new(LIMIT),
            buffer: vec![0; LONGEST],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// A packet of the guest.
    pub(super) fn packet(&mut self, world: &mut World, packet: &Packet<'_>) {
        let bytes = packet.payload;
        let (Some(source), Some(destination), Some(len)) =
            (word(bytes, 0), word(bytes, 2), word(bytes, 4))
        else {
            return;
        };
        let Some(data) = bytes.get(HEADER..usize::from(len)) else {
            return;
        };
        let ends = Pair {
            guest: SocketAddr::new(packet.source, source),
            peer: SocketAddr::new(packet.destination, destination),
        };
        let id = match self.flows.find(&ends) {
            Some(id) => Ok(id),
            None => self.open(world, ends),
        };
        let sent = id.and_then(|id| self.send(world, id, data));
        if let Err(error) = sent {
            world.answer(icmp::unreachable(world.mac, packet, error));
        }
    }

    /// It comes before the guest has an address.
    pub(super) fn is_dhcp(packet: &Packet<'_>) -> bool {
        packet.destination.is_ipv4() && word(packet.payload, 2) == Some(dhcp::SERVER_PORT)
    }

    /// Answers a message to the DHCP server, and nothing else.
    pub(super) fn dhcp(world: &mut World, packet: &Packet<'_>) {
        if Udp::is_dhcp(packet)
            && let Some(message) = packet.payload.get(HEADER..)
        {
            let offer = dhcp::Offer {
                lent: world.address,
                subnet: world.subnet,
                mtu: world.mtu,
                boot: world.boot.as_ref(),
            };
            let answer = dhcp::answer(message, &offer);
            world.answer(answer);
        }
    }

    fn send(&mut self, world: &World, id: Id, data: &[u8]) -> Result<(), Errno> {
        let Some(flow) = self.flows.get(id) else {
            return Ok(());
        };
        flow.used = world.now;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let attempt = || match &flow.socket {
            Socket::Own(socket) => send(socket, data, flags),
            Socket::Shared(socket, client) => sendto(&**socket, data, flags, client),
        };
        // The first may answer with an error of an earlier datagram.
        match attempt().or_else(|_| attempt()) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn open(&mut self, world: &mut World, ends: Pair) -> Result<Id, Errno> {
        let target = world.policy.target(ends.peer, world.now);
        let target = target.ok_or(Errno::CONNREFUSED)?;
        let family = if target.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        self.make_room(world);
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &target)?;
        self.add(world, ends, Socket::Own(socket))
            .ok_or(Errno::NOBUFS)
    }

    fn add(&mut self, world: &mut World, ends: Pair, socket: Socket) -> Option<Id> {
        let id = self.flows.insert(ends, |id| {
            if let Socket::Own(socket) = &socket {
                world.poller.add(socket, Owner::Udp(id)).ok()?;
            }
            Some(Flow {
                ends,
                socket,
                readable: false,
                queued: false,
                used: world.now,
                answered: false,
                held: None,
            })
        })?;
        world.remind(Some(world.now + patience(ends)));
        Some(id)
    }

    /// The flow of a client of a published port. The guest sees the gateway speak.
    pub(super) fn client(
        &mut self,
        world: &mut World,
        socket: &Arc<OwnedFd>,
        client: SocketAddr,
        guest_port: u16,
    ) -> Option<Pair> {
        let guest = SocketAddr::new(world.address.into(), guest_port);
        // Two clients of one port number are told apart by another number.
        for offset in 0..u16::try_from(LIMIT).unwrap_or(0) {
            let port = client.port().wrapping_add(offset.wrapping_mul(4099)).max(1);
            let peer = SocketAddr::new(GATEWAY4.into(), port);
            let ends = Pair { guest, peer };
            let Some(id) = self.flows.find(&ends) else {
                self.make_room(world);
                let socket = Socket::Shared(Arc::clone(socket), client);
                self.add(world, ends, socket)?;
                return Some(ends);
            };
            let flow = self.flows.get(id)?;
            if matches!(&flow.socket, Socket::Shared(_, other) if *other == client) {
                flow.used = world.now;
                return Some(ends);
            }
        }
        None
    }

    fn make_room(&mut self, world: &mut World) {
        if self.flows.is_full() {
            let flows = self.flows.iter_mut().map(|(id, flow)| (flow.used, id));
            if let Some((_, id)) = flows.min_by_key(|(used, _)| *used) {
                self.remove(world, id);
            }
        }
    }

    fn remove(&mut self, world: &mut World, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            world.forget(Owner::Udp(id), flow.queued);
            if is_resolver(flow.ends.peer.ip()) && !flow.answered {
                world.policy.resolver.disappointed();
            }
        }
    }

    pub(super) fn changed(&mut self, world: &mut World, id: Id, edge: Edge) {
        if let Some(flow) = self.flows.get(id)
            && edge.readable
        {
            flow.readable = true;
            world.queue(Owner::Udp(id), &mut flow.queued);
        }
    }

    pub(super) fn emit(&mut self, world: &mut World, id: Id, deliver: &mut Deliver<'_>) -> Emitted {
        let Some(flow) = self.flows.get(id) else {
            return Emitted::Nothing;
        };
        let emitted = flow.emit(world, &mut self.buffer, deliver);
        if emitted == Emitted::Nothing {
            flow.queued = false;
        }
        emitted
    }

    /// Ends flows that were silent for long.
    pub(super) fn tick(&mut self, world: &mut World) {
        let now = world.now;
        let mut silent = Vec::new();
        for (id, flow) in self.flows.iter_mut() {
            let end = flow.used + patience(flow.ends);
            if end <= now {
                silent.push(id);
            } else {
                world.remind(Some(end));
            }
        }
        for id in silent {
            self.remove(world, id);
        }
    }
}

fn patience(ends: Pair) -> Duration {
    if ends.peer.port() == DNS {
        IDLE_DNS
    } else {
        IDLE
    }
}

impl Flow {
    fn emit(&mut self, world: &mut World, buffer: &mut [u8], deliver: &mut Deliver<'_>) -> Emitted {
        if let Some(held) = self.held.take() {
            if offer(world, self.ends, &held, deliver) {
                return Emitted::Taken;
            }
            self.held = Some(held);
            return Emitted::Refused;
        }
        let Socket::Own(socket) = &self.socket else {
            return Emitted::Nothing;
        };
        if !self.readable {
            return Emitted::Nothing;
        }
        match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((got, _)) => {
                self.used = world.now;
                self.answered = true;
                if offer(world, self.ends, &buffer[..got], deliver) {
                    return Emitted::Taken;
                }
                self.held = Some(buffer[..got].to_vec());
                Emitted::Refused
            }
            Err(Errno::INTR) => Emitted::Taken,
            Err(Errno::AGAIN) => {
                self.readable = false;
                Emitted::Nothing
            }
            Err(error) => {
                // An answer of the network to what the guest sent.
                let Pair { guest, peer } = self.ends;
                world.answer(icmp::unreachable_flow(world.mac, guest, peer, UDP, error));
                Emitted::Taken
            }
        }
    }
}

/// The frame that answers a datagram with `data`.
pub(super) fn reply(to: Mac, packet: &Packet<'_>, data: &[u8]) -> Option<Vec<u8>> {
    let ends = Ends::new(packet.destination, packet.source)?;
    let mut message = packet.payload.get(2..4)?.to_vec();
    message.extend(packet.payload.get(..2)?);
    message.extend(u16::try_from(HEADER + data.len()).ok()?.to_be_bytes());
    message.extend([0, 0]);
    message.extend(data);
    Some(frame(to, ends, UDP, &mut message, 6, true))
}

/// Offers the guest a datagram.
pub(super) fn offer(world: &World, ends: Pair, data: &[u8], deliver: &mut Deliver<'_>) -> bool {
    let Some(ip) = Ends::new(ends.peer.ip(), ends.guest.ip()) else {
        return true;
    };
    let len = HEADER + data.len();
    // It could not be in one piece, and is lost.
    if ip.header_len() + len > usize::from(world.mtu) {
        return true;
    }
    let mut fixed = [0; HEADER];
    fixed[..2].copy_from_slice(&ends.peer.port().to_be_bytes());
    fixed[2..4].copy_from_slice(&ends.guest.port().to_be_bytes());
    fixed[4..6].copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    let sum = ip.pseudo(UDP, len);
    let mut offload = OffloadHeader::default();
    let sum = if world.guest.checksum {
        offload.flags = NEEDS_CSUM;
        offload.csum_start = u16::try_from(ETHERNET + ip.header_len()).unwrap_or(0);
        offload.csum_offset = CHECKSUM;
        sum.partial()
    } else {
        // Zero would say that there is none.
        match sum.over(&fixed).over(data).finish() {
            0 => 0xffff,
            sum => sum,
        }
    };
    fixed[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut header = Header::ip(world.mac, ip, UDP, len);
    header.push(&fixed);
    deliver(&Frame {
        offload,
        parts: &[header.bytes(), data],
    })
}
