//! Published ports: what the host's clients reach the guest by.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, accept_with, bind, listen, recvfrom,
    socket_with, sockopt,
};

use crate::user::plan::Pair;
use crate::user::poller::{Edge, Owner};
use crate::user::tcp::Tcp;
use crate::user::udp::{self, Udp};
use crate::user::world::{Deliver, Emitted, World};
use crate::user::{Forward, Protocol, UserError};

const BACKLOG: i32 = 128;
const LONGEST: usize = 65_507;

#[derive(Debug)]
struct Published {
    protocol: Protocol,
    socket: Arc<OwnedFd>,
    guest_port: u16,
    readable: bool,
    queued: bool,
    /// A datagram that the guest had no room for.
    held: Option<(Pair, Vec<u8>)>,
}

#[derive(Debug, Default)]
pub(super) struct Forwards {
    ports: Vec<Published>,
    buffer: Vec<u8>,
}

impl Forwards {
    /// Opens the ports of the host.
    pub(super) fn open(world: &World, wanted: &[Forward]) -> Result<Forwards, UserError> {
        let mut ports = Vec::new();
        for (number, forward) in (0..).zip(wanted) {
            let failed = |source: io::Error| UserError::Publish {
                host: forward.host,
                source,
            };
            let socket = bound(forward).map_err(|error| failed(error.into()))?;
            let added = world.poller.add(socket.as_fd(), Owner::Forward(number));
            added.map_err(failed)?;
            ports.push(Published {
                protocol: forward.protocol,
                socket: Arc::new(socket),
                guest_port: forward.guest_port,
                readable: false,
                queued: false,
                held: None,
            });
        }
        Ok(Forwards {
            ports,
            buffer: Vec::new(),
        })
    }

    /// Where the ports are; a port that was asked for as 0 has a number now.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let names = self.ports.iter().filter_map(|port| {
            let name = rustix::net::getsockname(&port.socket).ok()?;
            SocketAddr::try_from(name).ok()
        });
        names.collect()
    }

    fn get(&mut self, number: u32) -> Option<&mut Published> {
        self.ports.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn changed(&mut self, world: &mut World, tcp: &mut Tcp, number: u32, edge: Edge) {
        let Some(port) = self.get(number).filter(|_| edge.readable) else {
            return;
        };
        match port.protocol {
            Protocol::Tcp => accept_all(world, tcp, port),
            Protocol::Udp => {
                port.readable = true;
                world.queue(Owner::Forward(number), &mut port.queued);
            }
        }
    }

    /// Offers the guest the next datagram of a published port.
    pub(super) fn emit(
        &mut self,
        world: &mut World,
        udp: &mut Udp,
        number: u32,
        deliver: &mut Deliver<'_>,
    ) -> Emitted {
        self.buffer.resize(LONGEST, 0);
        let Some(port) = self
            .ports
            .get_mut(usize::try_from(number).unwrap_or(usize::MAX))
        else {
            return Emitted::Nothing;
        };
        if let Some((ends, held)) = port.held.take() {
            if udp::offer(world, ends, &held, deliver) {
                return Emitted::Taken;
            }
            port.held = Some((ends, held));
            return Emitted::Refused;
        }
        let received = if port.readable {
            recvfrom(&port.socket, &mut self.buffer[..], RecvFlags::DONTWAIT)
        } else {
            Err(Errno::AGAIN)
        };
        let (got, client) = match received {
            Ok((got, _, client)) => (got, client),
            Err(Errno::AGAIN) => {
                port.readable = false;
                port.queued = false;
                return Emitted::Nothing;
            }
            // An answer of the network to what the guest sent: not worth a word here.
            Err(_) => return Emitted::Taken,
        };
        let client = client.and_then(|client| SocketAddr::try_from(client).ok());
        let ends = client.and_then(|it| udp.client(world, &port.socket, it, port.guest_port));
        let Some(ends) = ends else {
            return Emitted::Taken;
        };
        let data = &self.buffer[..got];
        if udp::offer(world, ends, data, deliver) {
            return Emitted::Taken;
        }
        port.held = Some((ends, data.to_vec()));
        Emitted::Refused
    }
}

/// Edges tell of new clients, so none may be left.
fn accept_all(world: &mut World, tcp: &mut Tcp, port: &Published) {
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match accept_with(&port.socket, flags) {
            Ok(socket) => {
                let client = rustix::net::getpeername(&socket).ok();
                let client = client.and_then(|it| SocketAddr::try_from(it?).ok());
                let client_port = client.map_or(0, |client| client.port());
                tcp.call(world, socket, client_port, port.guest_port);
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            // None is left; or we have no descriptors, and the next client rings again.
            Err(_) => return,
        }
    }
}

fn bound(forward: &Forward) -> Result<OwnedFd, Errno> {
    let family = if forward.host.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match forward.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    if !forward.host.is_ipv4() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if forward.protocol == Protocol::Tcp {
        // What the last guest on this port left in TIME_WAIT is not in our way.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &forward.host)?;
    if forward.protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
