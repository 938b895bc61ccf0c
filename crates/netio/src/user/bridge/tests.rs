//! Over a real tap interface, in a network namespace of the test's own; skipped where the host allows
//! no such namespace.

use std::path::PathBuf;

use super::*;
use crate::tap::testing_raw::enter_namespace;
use crate::{TapLink, UserLink, lease};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 8];
const SUBNET: [u8; 3] = [10, 105, 9];

fn with_bridge(name: &str, work: impl FnOnce(Bridge) + Send + 'static) {
    let directory = std::env::temp_dir().join(format!("netio-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mine = directory.clone();
    let thread = std::thread::spawn(move || {
        if !std::path::Path::new("/dev/net/tun").exists() || !enter_namespace() {
            eprintln!("skipped: this host allows no network namespace or no tap");
            return;
        }
        let tap = TapLink::by_name("inn7", 1).unwrap().remove(0);
        work(Bridge::new(Box::new(tap), &options(mine)).unwrap());
    });
    thread.join().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

fn options(directory: PathBuf) -> BridgeOptions {
    let last = lease(&directory, "web", MAC, &[]).unwrap();
    assert_eq!(lease(&directory, "db", OTHER, &[]).unwrap(), last + 1);
    BridgeOptions {
        directory,
        name: "web".into(),
        mac: MAC,
        subnet: Subnet {
            v4: SUBNET,
            v6: "fd69:6e6e:0:9::".parse().unwrap(),
        },
        last,
        isolated: true,
    }
}

fn udp(from: [u8; 6], to: [u8; 6], ends: [[u8; 4]; 2], ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(28 + data.len()).unwrap();
    let mut frame = [&to[..], &from, &[8, 0]].concat();
    frame.extend(
        [
            &[0x45, 0],
            &len.to_be_bytes()[..],
            &[0, 0, 0, 0, 64, 17, 0, 0],
        ]
        .concat(),
    );
    frame.extend(ends.concat());
    frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    frame.extend((len - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(data);
    frame
}

fn at(last: u8) -> [u8; 4] {
    let [a, b, c] = SUBNET;
    [a, b, c, last]
}

#[test]
fn only_what_is_for_this_process_stays_in_it() {
    with_bridge("bridge-way", |bridge| {
        let resolver = RESOLVER4.octets();
        let way = |to, ends, ports| bridge.way(&udp(MAC, to, ends, ports, &[]));
        assert_eq!(way(OTHER, [at(16), at(17)], [9, 9]), Way::Out);
        assert_eq!(
            way(GATEWAY_MAC, [at(16), [192, 0, 2, 1]], [9, 53]),
            Way::Out
        );
        assert_eq!(way(GATEWAY_MAC, [at(16), resolver], [9, 53]), Way::Own);
        assert_eq!(way([0xff; 6], [[0; 4], [255; 4]], [68, 67]), Way::Own);
        assert_eq!(way(GATEWAY_MAC, [at(16), at(2)], [68, 67]), Way::Own);
        // It is nobody's DHCP server, and nobody but itself.
        assert_eq!(way(OTHER, [at(16), at(17)], [67, 68]), Way::Nowhere);
        assert_eq!(way(OTHER, [at(17), at(16)], [9, 9]), Way::Nowhere);
        let other = udp(OTHER, MAC, [at(16), at(17)], [9, 9], &[]);
        assert_eq!(bridge.way(&other), Way::Nowhere);
        assert_eq!(bridge.way(&[0; 13]), Way::Nowhere);
    });
}

#[test]
fn a_guest_gets_its_address_and_the_names_of_others() {
    let directory = std::env::temp_dir().join(format!("netio-bridge-dns-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mine = directory.clone();
    let thread = std::thread::spawn(move || {
        if !std::path::Path::new("/dev/net/tun").exists() || !enter_namespace() {
            eprintln!("skipped: this host allows no network namespace or no tap");
            return;
        }
        let tap = TapLink::by_name("inn8", 1).unwrap().remove(0);
        let mut link = UserLink::on_bridge(tap.into_fd(), &options(mine)).unwrap();
        let mut discover = vec![0; 236];
        discover[..3].copy_from_slice(&[1, 1, 6]);
        discover[28..34].copy_from_slice(&MAC);
        discover.extend([99, 130, 83, 99, 53, 1, 1, 255]);
        let frame = udp(MAC, [0xff; 6], [[0; 4], [255; 4]], [68, 67], &discover);
        let offer = answer(&mut link, &frame);
        assert_eq!(offer[42 + 16..42 + 20], at(16));
        assert!(
            offer.windows(6).any(|it| it == [3, 4, 10, 105, 9, 2]),
            "no router"
        );
        assert!(
            offer.windows(6).any(|it| it == [6, 4, 10, 0, 2, 3]),
            "no resolver"
        );
        let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01";
        let ends = [at(16), RESOLVER4.octets()];
        let told = answer(&mut link, &udp(MAC, GATEWAY_MAC, ends, [999, 53], question));
        assert_eq!(told[told.len() - 4..], at(17));
    });
    thread.join().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

fn answer(link: &mut UserLink, frame: &[u8]) -> Vec<u8> {
    link.send(&OffloadHeader::default(), frame);
    link.turn();
    let mut got = Vec::new();
    assert!(link.receive(&mut |frame| {
        got = frame.to_vec();
        true
    }));
    got
}
