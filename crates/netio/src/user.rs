//! User-mode network: a guest's Ethernet ends here, and its connections go on through the sockets of
//! this process. It needs no privilege, sees what the user's own programs would see, and nothing of
//! the guest's network is visible outside.
//!
//! On the wire with the guest there are a gateway (10.0.2.2, fd69:6e6e::2), a resolver (10.0.2.3,
//! fd69:6e6e::3) and the guest (10.0.2.15 by DHCP; a made-up address by router advertisements).
//!
//! - TCP is terminated ([`tcp`]) and continued by the host's. UDP flows and pings are translated
//!   ([`udp`], [`ping`]). ARP, neighbour discovery, DHCP and echo for our own addresses are answered.
//! - [`policy`] says what a guest may reach; the resolver's address stands for the host's resolver.
//! - One thread has all of it. Sockets are watched by one epoll descriptor with edges, and flows that
//!   may have something for the guest stand in a queue ([`world`]). Frames are made when the guest
//!   has room: what a slow guest does not take stays in the host's sockets, where the senders see it.
//! - Everything has a limit: flows by kind, bytes in each, answers that wait. The oldest idle flow
//!   gives way to a new one.
//!
//! The card's MTU is as large as IP allows, since no real link has to carry its packets: UDP needs
//! no fragments in either direction, and fragments are dropped.

mod arp;
mod bridge;
mod dhcp;
mod forward;
pub(crate) mod header;
mod honest;
pub(crate) mod icmp;
mod leases;
mod names;
mod ndp;
pub(crate) mod packet;
mod ping;
mod plan;
mod policy;
mod poller;
mod resolver;
mod ring;
mod switch;
mod table;
mod tcp;
mod tftp;
mod udp;
mod world;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::{Frame, Link, OffloadHeader, Offloads, TapError, TapLink};

pub use bridge::BridgeOptions;
use bridge::{Bridge, Way};
use forward::Forwards;
pub use leases::lease;
use packet::{ICMP, ICMPV6, Packet, TCP, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, UDP};
use ping::Ping;
pub use plan::Subnet;
use policy::Policy;
use poller::Owner;
pub use switch::NetworkOptions;
use switch::Switch;
use tcp::Tcp;
pub use tftp::NetworkBoot;
use tftp::Tftp;
use udp::Udp;
use world::{Emitted, World};

/// What Linux takes for the longest packet of a card whose driver knows it, in pages.
const DEFAULT_MTU: u16 = 65_520;
const MIN_MTU: u16 = 1280;
const ETHERNET_MTU: u16 = 1500;
/// Between two unasked router advertisements; a third of what they are good for.
const ADVERTISING: Duration = Duration::from_secs(2500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A port of the host that leads to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    pub protocol: Protocol,
    pub host: SocketAddr,
    pub guest_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserOptions {
    pub forwards: Vec<Forward>,
    /// The guest may use the host's own services: by the gateway's address those on its loopback.
    pub reach_host: bool,
    /// The network that it shares with others; without, it is alone.
    pub network: Option<NetworkOptions>,
    /// The guest may use nothing else: neither the world nor the resolver.
    pub isolated: bool,
    /// The longest IP packet: 1280 to 65,520.
    pub mtu: u16,
    /// What it may boot.
    pub boot: Option<NetworkBoot>,
}

impl Default for UserOptions {
    fn default() -> UserOptions {
        UserOptions {
            forwards: Vec::new(),
            reach_host: false,
            network: None,
            isolated: false,
            mtu: DEFAULT_MTU,
            boot: None,
        }
    }
}

#[derive(Debug, Error)]
pub enum UserError {
    #[error("cannot publish port {} of {}", host.port(), host.ip())]
    Publish { host: SocketAddr, source: io::Error },
    #[error("cannot join the network in {}", directory.display())]
    Join {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("cannot connect to the bridge of the network in {}", directory.display())]
    Bridge {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("cannot connect to the bridge")]
    Tap { source: TapError },
    #[error("cannot offer the guest the files in {}", directory.display())]
    Tftp {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("no event descriptor for the guest's network")]
    Events { source: io::Error },
}

/// How much is under way, for statistics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserFlows {
    pub tcp: usize,
    pub udp: usize,
    pub ping: usize,
}

/// The user-mode network of one guest.
#[derive(Debug)]
pub struct UserLink {
    world: World,
    tcp: Tcp,
    udp: Udp,
    ping: Ping,
    forwards: Forwards,
    tftp: Option<Tftp>,
    switch: Option<Switch>,
    bridge: Option<Bridge>,
    advertised: Option<Instant>,
}

impl UserLink {
    /// # Errors
    /// When a port of the host cannot be had.
    pub fn new(options: &UserOptions) -> Result<UserLink, UserError> {
        let policy = Policy::new(options.reach_host, options.isolated);
        let mtu = options.mtu.clamp(MIN_MTU, DEFAULT_MTU);
        let mut world = World::new(policy, mtu).map_err(|source| UserError::Events { source })?;
        let switch = join(&mut world, options)?;
        world.boot.clone_from(&options.boot);
        Ok(UserLink {
            tftp: offer_files(options)?,
            forwards: Forwards::open(&world, &options.forwards)?,
            world,
            tcp: Tcp::new(),
            udp: Udp::new(),
            ping: Ping::new(),
            switch,
            bridge: None,
            advertised: None,
        })
    }

    /// One queue of a tap interface on a bridge of the host's.
    ///
    /// # Errors
    /// When the tap is none, or the network's directory cannot be opened.
    pub fn on_bridge(tap: OwnedFd, options: &BridgeOptions) -> Result<UserLink, UserError> {
        let tap = TapLink::from_fd(tap).map_err(|source| UserError::Tap { source })?;
        UserLink::on_wire(Box::new(tap), options)
    }

    /// On a bridge that is at the other end of `wire`.
    ///
    /// # Errors
    /// When the network's directory cannot be opened, or the wire tells of no events.
    pub fn on_wire(wire: Box<dyn Link>, options: &BridgeOptions) -> Result<UserLink, UserError> {
        let mut link = UserLink::new(&UserOptions {
            isolated: options.isolated,
            mtu: ETHERNET_MTU,
            ..UserOptions::default()
        })?;
        let bridge = Bridge::new(wire, options).and_then(|bridge| {
            let events = bridge.tap.events().ok_or(io::ErrorKind::InvalidInput)?;
            link.world.poller.add(events, Owner::Bridge)?;
            Ok(bridge)
        });
        let bridge = bridge.map_err(|source| UserError::Bridge {
            directory: options.directory.clone(),
            source,
        })?;
        link.world.address = bridge.address();
        link.world.subnet = options.subnet;
        link.bridge = Some(bridge);
        Ok(link)
    }

    /// Where the published ports are, in the order of [`UserOptions::forwards`].
    #[must_use]
    pub fn published(&self) -> Vec<SocketAddr> {
        self.forwards.addresses()
    }

    #[must_use]
    pub fn flows(&self) -> UserFlows {
        UserFlows {
            tcp: self.tcp.len(),
            udp: self.udp.len(),
            ping: self.ping.len(),
        }
    }

    fn packet(&mut self, from: plan::Mac, packet: &Packet<'_>) {
        let world = &mut self.world;
        let is_guests = match &self.bridge {
            Some(_) => world.subnet.contains(packet.source),
            None => plan::is_guests(packet.source),
        };
        if !is_guests {
            self.before_address(from, packet);
            return;
        }
        let to_us = plan::is_own(packet.destination)
            || packet.destination == IpAddr::from(world.subnet.gateway());
        let to_all = plan::is_group(packet.destination);
        match packet.protocol {
            TCP if !to_all => self.tcp.packet(world, packet),
            UDP if to_all => Udp::dhcp(world, packet),
            UDP if to_us && Udp::is_dhcp(packet) => Udp::dhcp(world, packet),
            UDP if to_us && self.answer_file(packet) => {}
            UDP if self.answer_name(packet) => {}
            UDP => self.udp.packet(&mut self.world, packet),
            ICMP if packet.payload.first() == Some(&icmp::ECHO_REQUEST4) => {
                self.echo(packet, to_us);
            }
            ICMPV6 if packet.payload.first() == Some(&icmp::ECHO_REQUEST6) => {
                self.echo(packet, to_us);
            }
            ICMPV6 => self.discovery(from, packet),
            _ => {}
        }
    }

    /// A datagram of a transfer is nobody else's.
    fn answer_file(&mut self, packet: &Packet<'_>) -> bool {
        let Some(tftp) = self.tftp.as_mut().filter(|it| it.is_for_us(packet)) else {
            return false;
        };
        let answer = tftp.answer(self.world.mac, packet, self.world.mtu);
        self.world.answer(answer);
        true
    }

    /// A question for another guest of the network is not the resolver's.
    fn answer_name(&mut self, packet: &Packet<'_>) -> bool {
        if self.switch.is_none() && self.bridge.is_none() {
            return false;
        }
        let is_question = policy::is_resolver(packet.destination)
            && packet::word(packet.payload, 2) == Some(policy::DNS);
        let now = self.world.now;
        let message = packet.payload.get(8..).filter(|_| is_question);
        let answer = message.and_then(|it| names::answer(it, |name| self.find(now, name)));
        let Some(answer) = answer else {
            return false;
        };
        self.world
            .answer(udp::reply(self.world.mac, packet, &answer));
        true
    }

    /// Another guest's address.
    fn find(&mut self, now: Instant, name: &str) -> Option<Ipv4Addr> {
        match (&mut self.switch, &mut self.bridge) {
            (Some(switch), _) => switch.find(now, name),
            (None, Some(bridge)) => bridge.find(now, name),
            (None, None) => None,
        }
    }

    fn echo(&mut self, packet: &Packet<'_>, to_us: bool) {
        if to_us {
            self.world.answer(icmp::echo(self.world.mac, packet));
        } else {
            self.ping.packet(&mut self.world, packet);
        }
    }

    /// What a guest says that has no address of this network, or a link-local one.
    fn before_address(&mut self, from: plan::Mac, packet: &Packet<'_>) {
        match packet.protocol {
            UDP if packet.source.is_ipv4() => Udp::dhcp(&mut self.world, packet),
            ICMPV6 => self.discovery(from, packet),
            _ => {}
        }
    }

    fn discovery(&mut self, from: plan::Mac, packet: &Packet<'_>) {
        match packet.payload.first() {
            Some(&ndp::ROUTER_SOLICITATION) => self.advertise(),
            Some(&ndp::NEIGHBOUR_SOLICITATION) => {
                self.world.answer(ndp::neighbour(from, packet));
            }
            _ => {
                let echo = packet.payload.first() == Some(&icmp::ECHO_REQUEST6);
                if echo && plan::is_own(packet.destination) {
                    self.world.answer(icmp::echo(from, packet));
                }
            }
        }
    }

    fn advertise(&mut self) {
        self.advertised = Some(self.world.now);
        self.world.remind(Some(self.world.now + ADVERTISING));
        // Behind a bridge, the host's own tables say where there is a way.
        let routes = match &self.bridge {
            Some(_) => !self.world.policy.is_isolated(),
            None => self.world.policy.has_ipv6(),
        };
        let frame = ndp::advertisement(self.world.subnet, self.world.mtu, routes);
        self.world.answer(frame);
    }

    fn tick(&mut self) {
        self.tcp.tick(&mut self.world);
        self.udp.tick(&mut self.world);
        self.ping.tick(&mut self.world);
        if let Some(switch) = &mut self.switch {
            switch.flush(&mut self.world);
        }
        if let Some(last) = self.advertised {
            if last + ADVERTISING <= self.world.now {
                self.advertise();
            } else {
                self.world.remind(Some(last + ADVERTISING));
            }
        }
    }
}

fn offer_files(options: &UserOptions) -> Result<Option<Tftp>, UserError> {
    let boot = options.boot.as_ref();
    let Some(directory) = boot.and_then(|boot| boot.directory.as_ref()) else {
        return Ok(None);
    };
    let opened = Tftp::open(directory).map_err(|source| UserError::Tftp {
        directory: directory.clone(),
        source,
    })?;
    Ok(Some(opened))
}

fn join(world: &mut World, options: &UserOptions) -> Result<Option<Switch>, UserError> {
    let Some(network) = &options.network else {
        return Ok(None);
    };
    let joined = Switch::join(network).and_then(|switch| {
        world.poller.add(switch.socket(), Owner::Switch)?;
        Ok(switch)
    });
    let switch = joined.map_err(|source| UserError::Join {
        directory: network.directory.clone(),
        source,
    })?;
    world.address = switch.lease.address();
    Ok(Some(switch))
}

impl Link for UserLink {
    fn offloads(&self) -> Offloads {
        if let Some(bridge) = &self.bridge {
            return bridge.tap.offloads();
        }
        Offloads {
            checksum: true,
            tso4: true,
            tso6: true,
            ecn: true,
        }
    }

    fn accept(&mut self, guest: Offloads) {
        self.world.guest = guest;
        if let Some(bridge) = &mut self.bridge {
            bridge.tap.accept(guest);
        }
    }

    fn use_queue(&mut self, wanted: bool) {
        if let Some(bridge) = &mut self.bridge {
            bridge.tap.use_queue(wanted);
        }
    }

    fn send(&mut self, offload: &OffloadHeader, frame: &[u8]) {
        let Some(ethernet) = packet::ethernet(frame) else {
            return;
        };
        self.world.now = Instant::now();
        if let Some(bridge) = &mut self.bridge {
            match bridge.way(frame) {
                Way::Own => {}
                Way::Out => return bridge.send(offload, frame),
                Way::Nowhere => return,
            }
        }
        if let Some(switch) = &mut self.switch
            && !(switch.is_honest(frame) && switch.forward(&mut self.world, offload, frame))
        {
            return;
        }
        // A group's address is nobody's.
        if ethernet.source[0] & 1 == 0 {
            self.world.mac = ethernet.source;
        }
        match ethernet.kind {
            TYPE_ARP => self.world.answer(arp::answer(ethernet.payload)),
            TYPE_IPV4 | TYPE_IPV6 => {
                if let Some(packet) = packet::ip(ethernet.kind, ethernet.payload) {
                    self.packet(ethernet.source, &packet);
                }
            }
            _ => {}
        }
    }

    fn turn(&mut self) {
        self.world.now = Instant::now();
        let mut changed = Vec::new();
        self.world
            .poller
            .take(|owner, edge| changed.push((owner, edge)));
        let world = &mut self.world;
        for (owner, edge) in changed {
            match owner {
                Owner::Tcp(id) => self.tcp.changed(world, id, edge),
                Owner::Udp(id) => self.udp.changed(world, id, edge),
                Owner::Ping(id) => self.ping.changed(world, id, edge),
                Owner::Switch => {
                    if let Some(switch) = self.switch.as_mut().filter(|_| edge.readable) {
                        switch.readable = true;
                        world.queue(Owner::Switch, &mut switch.queued);
                    }
                }
                Owner::Bridge => {
                    if let Some(bridge) = self.bridge.as_mut().filter(|_| edge.readable) {
                        bridge.readable = true;
                        world.queue(Owner::Bridge, &mut bridge.queued);
                    }
                }
                Owner::Forward(number) => {
                    self.forwards.changed(world, &mut self.tcp, number, edge);
                }
            }
        }
        if self.world.alarm_rings() {
            self.tick();
        }
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool {
        if let Some(taken) = self.world.offer_answer(deliver) {
            return taken;
        }
        while let Some(owner) = self.world.next_ready() {
            let world = &mut self.world;
            let emitted = match owner {
                Owner::Tcp(id) => self.tcp.emit(world, id, deliver),
                Owner::Udp(id) => self.udp.emit(world, id, deliver),
                Owner::Ping(id) => self.ping.emit(world, id, deliver),
                Owner::Switch => match &mut self.switch {
                    Some(switch) => switch.emit(world, deliver),
                    None => Emitted::Nothing,
                },
                Owner::Bridge => match &mut self.bridge {
                    Some(bridge) => bridge.emit(deliver),
                    None => Emitted::Nothing,
                },
                Owner::Forward(number) => self.forwards.emit(world, &mut self.udp, number, deliver),
            };
            match emitted {
                Emitted::Nothing => self.world.next_turn(false),
                Emitted::Refused => return false,
                Emitted::Taken => {
                    self.world.next_turn(true);
                    return true;
                }
                Emitted::Last => {
                    self.world.next_turn(false);
                    return true;
                }
            }
        }
        false
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        Some(self.world.poller.fd())
    }

    fn wake_in(&self) -> Option<Duration> {
        let alarm = self.world.alarm()?;
        Some(alarm.saturating_duration_since(self.world.now))
    }

    fn mtu(&self) -> Option<u16> {
        Some(self.world.mtu)
    }
}

#[cfg(test)]
mod tests;
