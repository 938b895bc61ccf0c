//! Frames of both directions through a firewall, over a hub.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::{Hub, HubLink, Link, OffloadHeader};

const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GUEST4: [u8; 4] = [10, 0, 2, 15];
const PEER4: [u8; 4] = [192, 0, 2, 7];
const SYN: u8 = 2;
const ACK: u8 = 16;

struct Pair {
    guest: Guarded,
    world: HubLink,
    firewall: Firewall,
}

fn pair(rules: Rules) -> Pair {
    let hub = Hub::new();
    let inner = hub.plug().unwrap();
    let firewall = Firewall::new(rules);
    let guest = Guarded::new(Box::new(inner), firewall.clone(), Some(Subnet::USER));
    let world = hub.plug().unwrap();
    Pair {
        guest,
        world,
        firewall,
    }
}

impl Pair {
    /// What the world sees of it.
    fn go(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.guest.send(&OffloadHeader::default(), frame);
        self.world.take()
    }

    /// What the guest sees of it.
    fn come(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.world.put(frame);
        self.heard()
    }

    fn heard(&mut self) -> Option<Vec<u8>> {
        let mut got = None;
        while got.is_none()
            && self.guest.receive(&mut |frame| {
                got = Some(frame.to_vec());
                true
            })
        {}
        got
    }
}

fn ip(direction: Direction, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (macs, ips) = match direction {
        Direction::Out => ([PEER, GUEST], [GUEST4, PEER4]),
        Direction::In => ([GUEST, PEER], [PEER4, GUEST4]),
    };
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut frame = [&macs.concat()[..], &[8, 0, 0x45, 0], &len].concat();
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(ips.concat());
    frame.extend(payload);
    frame
}

fn tcp(direction: Direction, ports: [u16; 2], flags: u8) -> Vec<u8> {
    let mut header = ports.map(u16::to_be_bytes).concat();
    header.extend([0, 0, 0, 9, 0, 0, 0, 7, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    ip(direction, 6, &header)
}

fn udp(direction: Direction, ports: [u16; 2]) -> Vec<u8> {
    let mut header = ports.map(u16::to_be_bytes).concat();
    header.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    ip(direction, 17, &header)
}

fn rule(direction: Direction, action: Action, transport: Transport, port: u16) -> Rule {
    Rule {
        direction,
        action,
        transport: Some(transport),
        peers: None,
        ports: (port != 0).then_some((port, port)),
    }
}

fn closed(rules: Vec<Rule>) -> Rules {
    Rules {
        into: Action::Drop,
        out: Action::Drop,
        rules,
    }
}

#[test]
fn without_rules_everything_passes() {
    let mut pair = pair(Rules::default());
    for frame in [
        tcp(Direction::Out, [9, 80], ACK),
        ip(Direction::Out, 99, &[1; 8]),
    ] {
        assert_eq!(pair.go(&frame), Some(frame));
    }
    let frame = udp(Direction::In, [53, 9]);
    assert_eq!(pair.come(&frame), Some(frame.clone()));
}

#[test]
fn who_was_let_in_is_answered_and_nobody_else() {
    let ssh = rule(Direction::In, Action::Accept, Transport::Tcp, 22);
    let mut pair = pair(closed(vec![ssh]));
    assert_eq!(pair.go(&tcp(Direction::Out, [22, 4000], SYN | ACK)), None);
    assert!(pair.come(&tcp(Direction::In, [4000, 22], SYN)).is_some());
    assert!(
        pair.go(&tcp(Direction::Out, [22, 4000], SYN | ACK))
            .is_some()
    );
    assert!(pair.come(&tcp(Direction::In, [4000, 22], ACK)).is_some());
    assert_eq!(pair.go(&tcp(Direction::Out, [22, 4001], ACK)), None);
    assert_eq!(pair.come(&tcp(Direction::In, [4000, 23], SYN)), None);
    // The guest does not get out by the ports of a connection that came in.
    assert_eq!(pair.go(&tcp(Direction::Out, [22, 4000], SYN)), None);
}

#[test]
fn an_answer_belongs_to_its_question() {
    let dns = rule(Direction::Out, Action::Accept, Transport::Udp, 53);
    let mut pair = pair(closed(vec![dns]));
    assert_eq!(pair.come(&udp(Direction::In, [53, 4000])), None);
    assert!(pair.go(&udp(Direction::Out, [4000, 53])).is_some());
    assert!(pair.come(&udp(Direction::In, [53, 4000])).is_some());
    assert_eq!(pair.come(&udp(Direction::In, [53, 4001])), None);
}

#[test]
fn pings_and_errors_belong_to_what_they_are_about() {
    let ping = rule(Direction::Out, Action::Accept, Transport::Icmp, 0);
    let web = rule(Direction::Out, Action::Accept, Transport::Tcp, 80);
    let mut pair = pair(closed(vec![ping, web]));
    let echo = |kind, number| [kind, 0, 0, 0, 0, number, 0, 1];
    assert!(pair.go(&ip(Direction::Out, 1, &echo(8, 5))).is_some());
    assert!(pair.come(&ip(Direction::In, 1, &echo(0, 5))).is_some());
    assert_eq!(pair.come(&ip(Direction::In, 1, &echo(0, 6))), None);
    assert_eq!(pair.come(&ip(Direction::In, 1, &echo(8, 5))), None);
    let about = |port| {
        let quoted = tcp(Direction::Out, [4000, port], SYN)[14..].to_vec();
        ip(
            Direction::In,
            1,
            &[&[3, 1, 0, 0, 0, 0, 0, 0], &quoted[..28]].concat(),
        )
    };
    assert!(pair.go(&tcp(Direction::Out, [4000, 80], SYN)).is_some());
    assert!(pair.come(&about(80)).is_some());
    assert_eq!(pair.come(&about(81)), None);
}

#[test]
fn rules_that_change_hold_for_what_is_open() {
    let mut pair = pair(Rules::default());
    assert!(pair.come(&tcp(Direction::In, [4000, 22], SYN)).is_some());
    assert!(pair.go(&tcp(Direction::Out, [4000, 80], SYN)).is_some());
    pair.firewall.set(Rules {
        into: Action::Drop,
        ..Rules::default()
    });
    assert_eq!(pair.come(&tcp(Direction::In, [4000, 22], ACK)), None);
    assert_eq!(pair.go(&tcp(Direction::Out, [22, 4000], ACK)), None);
    assert!(pair.come(&tcp(Direction::In, [80, 4000], ACK)).is_some());
}

#[test]
fn the_first_rule_that_fits_decides() {
    let net = Peers {
        address: IpAddr::from([192, 0, 2, 0]),
        bits: 24,
    };
    let mut inner = rule(Direction::Out, Action::Accept, Transport::Tcp, 0);
    inner.peers = Some(net);
    inner.ports = Some((8000, 8010));
    let all = rule(Direction::Out, Action::Drop, Transport::Tcp, 0);
    let rules = vec![inner, all];
    let mut pair = pair(Rules {
        rules,
        ..Rules::default()
    });
    assert!(pair.go(&tcp(Direction::Out, [9, 8005], SYN)).is_some());
    assert_eq!(pair.go(&tcp(Direction::Out, [9, 8011], SYN)), None);
    let mut elsewhere = tcp(Direction::Out, [9, 8005], SYN);
    elsewhere[30..34].copy_from_slice(&[192, 0, 3, 7]);
    assert_eq!(pair.go(&elsewhere), None);
    assert!(pair.go(&udp(Direction::Out, [9, 8011])).is_some());
}

#[test]
fn who_is_rejected_is_told() {
    let rejecting = Rules {
        into: Action::Reject,
        out: Action::Reject,
        rules: vec![],
    };
    let mut pair = pair(rejecting);
    assert_eq!(pair.go(&tcp(Direction::Out, [9, 80], SYN)), None);
    let reset = pair.heard().expect("a reset");
    assert_eq!(reset[..12], [GUEST, PEER].concat());
    assert_eq!(reset[26..34], [PEER4, GUEST4].concat());
    // Its ports the other way round, what it has sent acknowledged, reset.
    assert_eq!(reset[34..38], [0, 80, 0, 9]);
    assert_eq!(reset[42..46], [0, 0, 0, 10]);
    assert_eq!(reset[47], 4 | ACK);
    assert_eq!(pair.go(&udp(Direction::Out, [9, 80])), None);
    let told = pair.heard().expect("an error");
    assert_eq!((told[23], told[34], told[35]), (1, 3, 13));
    assert_eq!(pair.come(&tcp(Direction::In, [9, 22], SYN)), None);
    let reset = pair.world.take().expect("a reset");
    assert_eq!((&reset[..6], &reset[6..12]), (&PEER[..], &GUEST[..]));
    // Nobody is told of what went to all.
    let mut to_all = udp(Direction::Out, [9, 80]);
    to_all[..6].copy_from_slice(&[0xff; 6]);
    assert_eq!(pair.go(&to_all), None);
    assert_eq!(pair.heard(), None);
}

#[test]
fn addresses_are_found_out_whatever_the_rules_say() {
    let mut pair = pair(closed(vec![]));
    let mut arp = [&[0xff; 6][..], &GUEST, &[8, 6]].concat();
    arp.resize(42, 0);
    assert!(pair.go(&arp).is_some());
    let mut dhcp = udp(Direction::Out, [68, 67]);
    dhcp[30..34].fill(255);
    assert!(pair.go(&dhcp).is_some());
    // That is no way out.
    assert_eq!(pair.go(&udp(Direction::Out, [68, 67])), None);
}

#[test]
fn pieces_pass_with_their_first() {
    let dns = rule(Direction::Out, Action::Accept, Transport::Udp, 53);
    let mut pair = pair(closed(vec![dns]));
    let piece = |flags: u16, number: u8, ports| {
        let mut frame = udp(Direction::Out, ports);
        frame[19] = number;
        frame[20..22].copy_from_slice(&flags.to_be_bytes());
        frame
    };
    assert_eq!(pair.go(&piece(0x0002, 1, [9, 53])), None);
    assert!(pair.go(&piece(0x2000, 1, [9, 53])).is_some());
    assert!(pair.go(&piece(0x0002, 1, [0, 0])).is_some());
    // One that lies over the first.
    assert_eq!(pair.go(&piece(0x2000, 2, [9, 54])), None);
    assert_eq!(pair.go(&piece(0x0002, 2, [0, 0])), None);
}

#[test]
fn ports_behind_extension_headers_are_seen() {
    let smtp = rule(Direction::Out, Action::Drop, Transport::Tcp, 25);
    let mut pair = pair(Rules {
        rules: vec![smtp],
        ..Rules::default()
    });
    let mut frame = [
        &PEER[..],
        &GUEST,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 60, 64],
    ]
    .concat();
    frame.extend([[0xfd; 16], [0x20; 16]].concat());
    let options = frame.len();
    frame.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(&tcp(Direction::Out, [9, 25], SYN)[34..]);
    assert_eq!(pair.go(&frame), None);
    frame[options + 8 + 3] = 26;
    assert!(pair.go(&frame).is_some());
}

#[test]
fn connections_are_bounded_and_forgotten() {
    let mut flows = Flows::default();
    let now = Instant::now();
    let flow = |number: u32| Flow {
        protocol: 17,
        guest: SocketAddr::new(IpAddr::from(number.to_be_bytes()), 1),
        peer: SocketAddr::new(IpAddr::from(PEER4), 2),
    };
    for number in 0..100_000 {
        flows.open(flow(number), Direction::Out, now);
        assert!(flows.find(&flow(0), now, |_| true), "one that moves stays");
    }
    assert!(flows.len() <= 2 * 4096 + 1);
    assert!(!flows.find(&flow(1), now, |_| true));
    let later = now + Duration::from_secs(181);
    assert!(!flows.find(&flow(0), later, |_| true), "idle for too long");
}
