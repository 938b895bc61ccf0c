//! A guest on a bridge behind its firewall: frames that lie about who the guest is, frames of
//! others, rules that change meanwhile.
//!
//! What must hold is seen on the wire to the bridge: nothing leaves the guest with another's addresses, or
//! tells others of them, or tells them how to get addresses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use netio::{
    Action, BridgeOptions, Direction, Firewall, Guarded, Hub, Link, OffloadHeader, Peers, Rule,
    Rules, Subnet, Transport, UserLink, lease,
};

use crate::{Input, strict};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GATEWAY: [u8; 6] = [2, b'i', b'n', b'n', 0, 2];
const SUBNET: [u8; 3] = [10, 105, 9];

/// The network's directory, gone when the input is done.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Frames of any kind over a hub, through a firewall: what is refused is refused to somebody.
pub(crate) fn firewall(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let hub = Hub::new();
    let (Ok(inner), Ok(mut world)) = (hub.plug(), hub.plug()) else {
        return;
    };
    let firewall = Firewall::new(rules(&mut input));
    let subnet = input.bool().then(subnet);
    let mut guest = Guarded::new(Box::new(inner), firewall.clone(), subnet);
    while !input.is_empty() {
        match input.byte() & 7 {
            0 => firewall.set(rules(&mut input)),
            1..=3 => {
                let frame = frame(&mut input, [MAC, GATEWAY]);
                guest.send(&OffloadHeader::default(), &frame);
            }
            4..=6 => world.put(&frame(&mut input, [OTHER, MAC])),
            _ => take(&mut guest),
        }
        while world.take().is_some() {}
    }
    take(&mut guest);
}

/// The bridge's own view, over a tap interface.
pub(crate) fn bridge(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let directory = Directory(std::env::temp_dir().join(format!(
        "fuzz-bridge-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    )));
    let _ = fs::create_dir_all(&directory.0);
    let Ok(last) = lease(&directory.0, "guest", MAC, &[]) else {
        return;
    };
    let options = BridgeOptions {
        directory: directory.0.clone(),
        name: "guest".into(),
        mac: MAC,
        subnet: subnet(),
        last,
        isolated: true,
    };
    let hub = Hub::new();
    let (Ok(tap), Ok(mut wire)) = (hub.plug(), hub.plug()) else {
        return;
    };
    let Ok(mut guest) = UserLink::on_wire(Box::new(tap), &options) else {
        return;
    };
    while !input.is_empty() {
        match input.byte() & 7 {
            0..=3 => {
                let frame = frame(&mut input, [MAC, GATEWAY]);
                guest.send(&OffloadHeader::default(), &frame);
            }
            4..=5 => wire.put(&frame(&mut input, [OTHER, MAC])),
            6 => {
                let text = input.take(40).to_vec();
                let _ = fs::write(directory.0.join("leases"), text);
            }
            _ => take(&mut guest),
        }
        while let Some(frame) = wire.take() {
            check(&frame, last);
        }
    }
    take(&mut guest);
}

/// What has left the guest is the guest's.
fn check(frame: &[u8], last: u8) {
    assert_eq!(frame.get(6..12), Some(&MAC[..]), "another's card");
    let [a, b, c] = SUBNET;
    let own = [a, b, c, last];
    match frame.get(12..14) {
        Some([8, 0]) => {
            let source = frame.get(26..30);
            assert!(
                source == Some(&own[..]) || source == Some(&[0; 4][..]),
                "another's address"
            );
        }
        Some([8, 6]) => assert_eq!(frame.get(22..28), Some(&MAC[..]), "tells of another's card"),
        Some([0x86, 0xdd]) => {
            let first = frame.get(20).copied();
            let is_router = first == Some(58) && matches!(frame.get(54), Some(133 | 134 | 137));
            assert!(!is_router, "tells others how to get addresses");
        }
        other => panic!("a frame of type {other:?}"),
    }
}

fn subnet() -> Subnet {
    Subnet {
        v4: SUBNET,
        v6: "fd69:6e6e:0:9::".parse().expect("an address"),
    }
}

fn rules(input: &mut Input<'_>) -> Rules {
    let action =
        |input: &mut Input<'_>| input.choose(&[Action::Accept, Action::Drop, Action::Reject]);
    let (into, out) = (action(input), action(input));
    let mut rules = Vec::new();
    for _ in 0..input.byte() & 3 {
        rules.push(Rule {
            direction: input.choose(&[Direction::In, Direction::Out]),
            action: action(input),
            transport: input.choose(&[
                None,
                Some(Transport::Tcp),
                Some(Transport::Udp),
                Some(Transport::Icmp),
            ]),
            peers: input.bool().then(|| Peers {
                address: IpAddr::from(Ipv4Addr::from(u32::from(input.u16()) << 16)),
                bits: input.byte(),
            }),
            ports: input.bool().then(|| (input.u16(), input.u16())),
        });
    }
    Rules { into, out, rules }
}

/// ARP, or IP of both families with TCP, UDP, ICMP, errors about them, pieces and extensions; or anything.
fn frame(input: &mut Input<'_>, [from, to]: [[u8; 6]; 2]) -> Vec<u8> {
    let to = input.choose(&[to, to, OTHER, [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]]);
    let from = input.choose(&[from, from, from, MAC, OTHER]);
    let mut frame = [&to[..], &from].concat();
    let kind = input.byte();
    if kind & 7 == 0 {
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(from);
    } else if kind & 8 == 0 {
        frame.extend([8, 0]);
        ipv4(input, &mut frame);
    } else {
        frame.extend([0x86, 0xdd]);
        ipv6(input, &mut frame);
    }
    transport(input, &mut frame);
    let len = usize::from(input.byte() & 63);
    frame.extend(input.take(len));
    if kind & 0x70 == 0 {
        frame.truncate(usize::from(input.byte()).max(14));
    }
    frame
}

const PROTOCOLS: [u8; 10] = [6, 17, 1, 58, 6, 17, 0, 43, 44, 60];

fn ipv4(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    let [high, low] = input.choose(&[[0, 0], [0x20, 0], [0, 1], [0x20, 8], [0x40, 0]]);
    let first = input.choose(&[0x45, 0x45, 0x45, 0x46, 0x4f, 0x40]);
    frame.extend([first, 0, 0, 60, 0, input.byte() & 3, high, low, 64]);
    frame.extend([input.choose(&PROTOCOLS), 0, 0]);
    for _ in 0..2 {
        let [a, b, c] = SUBNET;
        frame.extend(input.choose(&[[a, b, c, 16], [a, b, c, 17], [a, b, c, 2], [0; 4], [255; 4]]));
    }
}

fn ipv6(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    frame.extend([0x60, 0, 0, 0, 0, 40, input.choose(&PROTOCOLS), 255]);
    for _ in 0..2 {
        let mut address = [
            0xfd, 0x69, 0x6e, 0x6e, 0, 0, 0, 9, 0, 0, 0, 0xff, 0xfe, 0, 0, 1,
        ];
        match input.byte() & 3 {
            0 => address[15] = input.byte(),
            1 => address[..8].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]),
            2 => address[0] = 0xff,
            _ => {}
        }
        frame.extend(address);
    }
    for _ in 0..input.byte() & 3 {
        frame.extend([
            input.choose(&PROTOCOLS),
            input.choose(&[0, 0, 1, 255]),
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
    }
}

fn transport(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    if input.byte() & 3 == 0 {
        frame.push(input.choose(&[0, 1, 3, 8, 11, 128, 129, 133, 134, 135, 136, 137, 143]));
        frame.extend([0; 7]);
        if input.bool() {
            ipv4(input, frame);
        }
        return;
    }
    for _ in 0..2 {
        frame.extend(
            input
                .choose(&[22u16, 53, 67, 68, 80, 546, 547, 4000])
                .to_be_bytes(),
        );
    }
    frame.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2,
        0x50,
        input.choose(&[2, 16, 18, 4, 1]),
        1,
        0,
        0,
        0,
        0,
        0,
    ]);
}

fn take(link: &mut dyn Link) {
    link.turn();
    for _ in 0..64 {
        let more = link.receive(&mut |frame| {
            assert!(frame.len() >= 14, "a frame without a header");
            true
        });
        if !more {
            break;
        }
    }
}
