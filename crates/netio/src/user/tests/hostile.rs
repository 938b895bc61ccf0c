//! A guest that does not play by the rules: frames made by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use super::guest::GATEWAY;
use crate::user::header::{Ends, frame};
use crate::user::packet::{TCP, UDP};
use crate::user::{Forward, Protocol, UserLink, UserOptions};
use crate::{Link, MAX_FRAME, OffloadHeader};

pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const SYN: u8 = 2;
pub(super) const ACK: u8 = 16;
const RST: u8 = 4;

pub(super) fn link(reach_host: bool) -> UserLink {
    UserLink::new(&UserOptions {
        reach_host,
        ..UserOptions::default()
    })
    .unwrap()
}

/// A frame of the guest to the gateway.
pub(super) fn from_guest(protocol: u8, message: &mut [u8]) -> Vec<u8> {
    let sum_at = if protocol == TCP { 16 } else { 6 };
    let ends = Ends::V4(GUEST, GATEWAY);
    let mut frame = frame([2; 6], ends, protocol, message, sum_at, true);
    frame[6..12].copy_from_slice(&MAC);
    frame
}

pub(super) struct Tcp {
    pub(super) port: u16,
    pub(super) to: u16,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) window: u16,
}

impl Tcp {
    pub(super) fn segment(&self, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut message = self.port.to_be_bytes().to_vec();
        message.extend(self.to.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.acknowledged.to_be_bytes());
        message.extend([(((20 + options.len()) / 4) << 4) as u8, flags]);
        message.extend(self.window.to_be_bytes());
        message.extend([0; 4]);
        message.extend(options);
        message.extend(data);
        from_guest(TCP, &mut message)
    }
}

fn datagram(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut message = [from.to_be_bytes(), to.to_be_bytes()].concat();
    message.extend((8 + data.len() as u16).to_be_bytes());
    message.extend([0; 2]);
    message.extend(data);
    from_guest(UDP, &mut message)
}

pub(super) fn send(link: &mut UserLink, frame: &[u8]) {
    link.send(&OffloadHeader::default(), frame);
}

/// All frames that the link has now.
pub(super) fn frames(link: &mut UserLink) -> Vec<(OffloadHeader, Vec<u8>)> {
    let mut got = Vec::new();
    link.turn();
    while link.receive(&mut |frame| {
        assert!(frame.len() <= MAX_FRAME);
        got.push((frame.offload, frame.to_vec()));
        true
    }) {}
    got
}

/// Sends a SYN and answers with the next segment to send, once the link has answered.
pub(super) fn opened(link: &mut UserLink, to: u16, options: &[u8]) -> Tcp {
    let mut tcp = Tcp {
        port: 40_000,
        to,
        sequence: 1000,
        acknowledged: 0,
        window: 65_535,
    };
    send(link, &tcp.segment(SYN, options, &[]));
    let answer = loop {
        let got = frames(link);
        if let Some((_, frame)) = got.into_iter().find(|(_, frame)| frame[23] == TCP) {
            break frame;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(answer[47] & (SYN | ACK), SYN | ACK);
    let theirs = u32::from_be_bytes(answer[38..42].try_into().unwrap());
    tcp.sequence = 1001;
    tcp.acknowledged = theirs.wrapping_add(1);
    tcp
}

#[test]
fn frames_cut_anywhere_are_survived() {
    let mut link = link(true);
    let whole = [
        datagram(1, 67, &[1; 300]),
        datagram(1, 9, &[7; 20]),
        Tcp {
            port: 1,
            to: 9,
            sequence: 1,
            acknowledged: 1,
            window: 1,
        }
        .segment(SYN, &[2, 4, 5, 180, 3, 3, 99, 0], b"data"),
    ];
    for whole in &whole {
        for len in 0..whole.len() {
            send(&mut link, &whole[..len]);
            for wrong in [0x00, 0x40, 0xff] {
                let mut damaged = whole.clone();
                damaged[len] = wrong;
                // To us, whatever else it says.
                damaged[30..34].copy_from_slice(&GATEWAY.octets());
                damaged[12..14].copy_from_slice(&[8, 0]);
                send(&mut link, &damaged);
            }
            frames(&mut link);
        }
    }
    assert!(link.flows().tcp <= super::super::tcp::LIMIT);
}

#[test]
fn connections_have_a_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().port();
    let mut link = link(true);
    let mut refused = 0;
    for port in 1000..2000 {
        let syn = Tcp {
            port,
            to,
            sequence: 0,
            acknowledged: 0,
            window: 0,
        };
        send(&mut link, &syn.segment(SYN, &[], &[]));
        let got = frames(&mut link);
        refused += got
            .iter()
            .filter(|(_, frame)| frame[23] == TCP && frame[47] & RST != 0)
            .count();
    }
    assert_eq!(link.flows().tcp, super::super::tcp::LIMIT);
    assert_eq!(refused, 1000 - super::super::tcp::LIMIT);
}

#[test]
fn flows_of_datagrams_give_way_to_newer_ones() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap().port();
    let mut link = link(true);
    for from in 1000..3000 {
        send(&mut link, &datagram(from, to, b"x"));
    }
    assert!(link.flows().udp <= 256);
}

/// A guest that asks and asks, and takes nothing.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    let mut link = link(false);
    for round in 0..10_000u32 {
        let syn = Tcp {
            port: 1,
            to: 9,
            sequence: round,
            acknowledged: 0,
            window: 0,
        };
        send(&mut link, &syn.segment(SYN, &[], &[]));
        link.turn();
        assert!(!link.receive(&mut |_| false));
    }
    assert!(frames(&mut link).len() <= 64);
}

#[test]
fn a_guest_that_closes_and_opens_leaves_no_trace() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().port();
    let mut link = link(true);
    for round in 0..2000u32 {
        let tcp = Tcp {
            port: 7,
            to,
            sequence: round,
            acknowledged: 0,
            window: 0,
        };
        send(&mut link, &tcp.segment(SYN, &[], &[]));
        link.turn();
        send(&mut link, &tcp.segment(RST, &[], &[]));
        let reset = Tcp {
            sequence: round.wrapping_add(1),
            ..tcp
        };
        send(&mut link, &reset.segment(RST, &[], &[]));
        while listener.set_nonblocking(true).is_ok() && listener.accept().is_ok() {}
    }
    assert!(link.flows().tcp <= 1);
    assert!(link.world.waiting() <= 2, "{}", link.world.waiting());
}

#[test]
fn data_beyond_the_window_and_numbers_from_nowhere_are_not_taken() {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = link(true);
    let mut tcp = opened(&mut link, listener.local_addr().unwrap().port(), &[]);
    send(&mut link, &tcp.segment(ACK, &[], b"one "));
    let honest = tcp.sequence;
    for (sequence, acknowledged) in [
        (honest.wrapping_add(1 << 20), tcp.acknowledged),
        (honest.wrapping_add(1 << 31), tcp.acknowledged),
        (honest, tcp.acknowledged.wrapping_add(77)),
        (honest.wrapping_sub(5), tcp.acknowledged.wrapping_sub(77)),
    ] {
        (tcp.sequence, tcp.acknowledged) = (sequence, acknowledged);
        send(&mut link, &tcp.segment(ACK, &[], b"lies"));
        frames(&mut link);
    }
    tcp.sequence = honest.wrapping_sub(2);
    tcp.acknowledged = tcp.acknowledged.wrapping_add(77);
    send(&mut link, &tcp.segment(ACK | 1, &[], b"!!one two"));
    frames(&mut link);
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert_eq!(got, "one two");
}

/// The server sends without end, the guest acknowledges nothing.
#[test]
fn what_the_guest_does_not_take_stays_with_the_sender() {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = link(true);
    let tcp = opened(
        &mut link,
        listener.local_addr().unwrap().port(),
        &[3, 3, 14, 0],
    );
    send(&mut link, &tcp.segment(ACK, &[], &[]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut blocked = 0;
    let mut came = 0;
    while blocked < 50 {
        match stream.write(&[7; 65_536]) {
            Ok(_) => {}
            Err(_) => blocked += 1,
        }
        came += frames(&mut link)
            .iter()
            .map(|(_, frame)| frame.len())
            .sum::<usize>();
    }
    assert!(came < 1 << 20, "{came}");
}

#[test]
fn published_ports_do_not_pile_up_what_the_guest_ignores() {
    let mut link = UserLink::new(&UserOptions {
        forwards: vec![Forward {
            protocol: Protocol::Udp,
            host: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            guest_port: 9,
        }],
        ..UserOptions::default()
    })
    .unwrap();
    let to = link.published()[0];
    for _ in 0..600 {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&[1; 1000], to).unwrap();
        link.turn();
        link.receive(&mut |_| false);
    }
    assert!(link.flows().udp <= 256);
    assert!(frames(&mut link).len() <= 600);
}
