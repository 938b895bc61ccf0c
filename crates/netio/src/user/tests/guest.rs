//! A guest with smoltcp for its TCP/IP.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Instant as Time;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr,
    IpAddress, IpCidr,
};

use crate::user::{UserLink, UserOptions};
use crate::{Link, OffloadHeader};

pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(super) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd69, 0x6e6e, 0, 0, 0, 0, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd69, 0x6e6e, 0, 0, 0, 0, 0, 0x15);
pub(super) const UDP_PORT: u16 = 4000;
const PING: u16 = 0x1234;
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Guest {
    pub(super) link: UserLink,
    card: Card,
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    tcp: SocketHandle,
    udp: SocketHandle,
    icmp: SocketHandle,
    next_port: u16,
}

/// Frames on their way into the guest, and out.
#[derive(Default)]
struct Card {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Guest {
    pub(super) fn new(options: &UserOptions) -> Guest {
        let mut guest = Guest::with_link(UserLink::new(options).unwrap());
        guest.interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(ADDRESS.into(), 24)).unwrap();
            addresses.push(IpCidr::new(ADDRESS6.into(), 64)).unwrap();
        });
        guest
            .interface
            .routes_mut()
            .add_default_ipv4_route(GATEWAY)
            .unwrap();
        guest
    }

    pub(super) fn unconfigured() -> Guest {
        Guest::with_link(UserLink::new(&UserOptions::default()).unwrap())
    }

    fn with_link(link: UserLink) -> Guest {
        let mut card = Card::default();
        let mac = EthernetAddress([2, 0, 0, 0, 0, 1]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = 42;
        let interface = Interface::new(config, &mut card, Time::now());
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 18]);
        let datagrams = || {
            let metadata = vec![udp::PacketMetadata::EMPTY; 16];
            udp::PacketBuffer::new(metadata, vec![0; 1 << 17])
        };
        let mut udp = udp::Socket::new(datagrams(), datagrams());
        udp.bind(UDP_PORT).unwrap();
        let pings = || {
            let metadata = vec![icmp::PacketMetadata::EMPTY; 4];
            icmp::PacketBuffer::new(metadata, vec![0; 4096])
        };
        let mut icmp = icmp::Socket::new(pings(), pings());
        icmp.bind(icmp::Endpoint::Ident(PING)).unwrap();
        Guest {
            link,
            card,
            interface,
            tcp: sockets.add(tcp::Socket::new(buffer(), buffer())),
            udp: sockets.add(udp),
            icmp: sockets.add(icmp),
            sockets,
            next_port: 50_000,
        }
    }

    pub(super) fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.tcp)
    }

    pub(super) fn udp(&mut self) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(self.udp)
    }

    pub(super) fn connect(&mut self, address: IpAddress, port: u16) {
        self.next_port += 1;
        let local = self.next_port;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        socket.abort();
        socket
            .connect(self.interface.context(), (address, port), local)
            .unwrap();
    }

    /// Answers how many bytes the socket took.
    pub(super) fn put(&mut self, bytes: &[u8]) -> usize {
        if !self.tcp().can_send() || bytes.is_empty() {
            return 0;
        }
        self.tcp().send_slice(bytes).unwrap()
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        while self.tcp().can_recv() {
            let taken = self.tcp().recv(|bytes| (bytes.len(), bytes.to_vec()));
            got.extend(taken.unwrap());
        }
        got
    }

    /// Sends a ping and waits for its answer's data.
    pub(super) fn ping(&mut self, to: IpAddress, data: &[u8]) -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let from6 = ADDRESS6;
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.icmp);
        match to {
            IpAddress::Ipv4(_) => {
                let request = Icmpv4Repr::EchoRequest {
                    ident: PING,
                    seq_no: 1,
                    data,
                };
                let bytes = socket.send(request.buffer_len(), to).unwrap();
                request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksums);
            }
            IpAddress::Ipv6(to6) => {
                let request = Icmpv6Repr::EchoRequest {
                    ident: PING,
                    seq_no: 1,
                    data,
                };
                let bytes = socket.send(request.buffer_len(), to).unwrap();
                let packet = &mut Icmpv6Packet::new_unchecked(bytes);
                request.emit(&from6, &to6, packet, &checksums);
            }
        }
        let mut answer = None;
        let handle = self.icmp;
        self.until("the ping is answered", |guest| {
            let socket = guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
            answer = socket.recv().ok().map(|(bytes, _)| bytes[8..].to_vec());
            answer.is_some()
        });
        answer.unwrap()
    }

    /// One turn of everything.
    pub(super) fn turn(&mut self) {
        self.interface
            .poll(Time::now(), &mut self.card, &mut self.sockets);
        for frame in self.card.outgoing.drain(..) {
            self.link.send(&OffloadHeader::default(), &frame);
        }
        self.link.turn();
        let incoming = &mut self.card.incoming;
        while incoming.len() < 64
            && self.link.receive(&mut |frame| {
                assert_eq!(frame.offload, OffloadHeader::default());
                incoming.push_back(frame.to_vec());
                true
            })
        {}
    }

    pub(super) fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn();
            sleep(Duration::from_micros(500));
        }
    }

    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Guest) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "in vain: {what}");
            self.turn();
        }
    }
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, work: F) -> R {
        work(&self.0)
    }
}

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, work: F) -> R {
        let mut frame = vec![0; len];
        let result = work(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _now: Time) -> Option<(Incoming, Outgoing<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Incoming(frame), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Time) -> Option<Outgoing<'_>> {
        (self.outgoing.len() < 64).then_some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 65_534;
        capabilities
    }
}
