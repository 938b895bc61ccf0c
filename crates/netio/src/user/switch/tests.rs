#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::NetworkOptions;
use crate::{
    GSO_TCPV4, Link, NEEDS_CSUM, OffloadHeader, Offloads, UserError, UserLink, UserOptions,
};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const C: [u8; 6] = [2, 0, 0, 0, 0, 0xc];

struct Network(PathBuf);

impl Network {
    fn new(name: &str) -> Network {
        let path = std::env::temp_dir().join(format!("netio-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Network(path)
    }

    fn join(&self, name: &str, mac: [u8; 6]) -> Result<UserLink, UserError> {
        UserLink::new(&UserOptions {
            network: Some(NetworkOptions {
                directory: self.0.clone(),
                name: name.into(),
                mac,
            }),
            isolated: true,
            ..UserOptions::default()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ip(from: [u8; 6], last: u8, to: [u8; 6], to_last: u8, protocol: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[8, 0]].concat();
    let [high, low] = (20 + data.len() as u16).to_be_bytes();
    frame.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend([10, 0, 2, last, 10, 0, 2, to_last]);
    frame.extend(data);
    frame
}

fn frames(link: &mut UserLink) -> Vec<(OffloadHeader, Vec<u8>)> {
    let mut got = Vec::new();
    link.turn();
    while link.receive(&mut |frame| {
        got.push((frame.offload, frame.to_vec()));
        true
    }) {}
    got
}

fn put(link: &mut UserLink, frame: &[u8]) {
    link.send(&OffloadHeader::default(), frame);
}

#[test]
fn guests_reach_each_other_by_address_and_all_by_broadcast() {
    let network = Network::new("switch");
    let mut a = network.join("a", A).unwrap();
    let mut b = network.join("b", B).unwrap();
    let mut c = network.join("c", C).unwrap();
    let to_b = ip(A, 16, B, 17, 200, b"for b alone");
    put(&mut a, &to_b);
    assert_eq!(frames(&mut b), [(OffloadHeader::default(), to_b)]);
    assert!(frames(&mut c).is_empty() && frames(&mut a).is_empty());
    let mut asks = [&[0xff; 6][..], &B, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    asks.extend([&B[..], &[10, 0, 2, 17], &[0; 6], &[10, 0, 2, 16]].concat());
    put(&mut b, &asks);
    for link in [&mut a, &mut c] {
        assert_eq!(frames(link)[0].1, asks);
    }
    assert!(frames(&mut b).is_empty());
    drop(c);
    put(&mut b, &asks);
    assert_eq!(frames(&mut a).len(), 1);
}

#[test]
fn nobody_pretends_to_be_another() {
    let network = Network::new("honest");
    let mut a = network.join("a", A).unwrap();
    let mut b = network.join("b", B).unwrap();
    let mut pretends = [&[0xff; 6][..], &A, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    pretends.extend([&A[..], &[10, 0, 2, 2], &[0; 6], &[10, 0, 2, 17]].concat());
    let mut unknown_kind = ip(A, 16, B, 17, 200, b"x");
    unknown_kind[12..14].copy_from_slice(&[0x88, 0xcc]);
    for frame in [
        ip(C, 16, B, 17, 200, b"another's card"),
        ip(A, 18, B, 17, 200, b"another's address"),
        ip(A, 2, B, 17, 200, b"the gateway's"),
        pretends,
        unknown_kind,
        ip(A, 16, B, 17, 17, &[0, 67, 0, 68, 0, 8, 0, 0]),
        vec![0xff; 13],
    ] {
        put(&mut a, &frame);
    }
    assert!(frames(&mut b).is_empty());
}

#[test]
fn a_name_is_in_a_network_once() {
    let network = Network::new("once");
    let first = network.join("a", A).unwrap();
    let told = network.join("a", A).unwrap_err();
    assert!(matches!(told, UserError::Join { .. }), "{told}");
    drop(first);
    // What a process that was killed leaves behind is not in the way.
    drop(std::os::unix::net::UnixDatagram::bind(network.0.join("members/a")).unwrap());
    network.join("a", A).unwrap();
    for name in ["", ".", "..", "a/b", "a b"] {
        assert!(network.join(name, A).is_err(), "{name:?}");
    }
}

#[test]
fn guests_find_each_other_by_name() {
    let network = Network::new("names");
    let mut a = network.join("a", A).unwrap();
    let _b = network.join("web1", B).unwrap();
    let mut question = vec![0x40, 0, 0, 53, 0, 0, 0, 0];
    question.extend([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4]);
    question.extend(b"web1\0\0\x01\0\x01");
    let len = question.len() as u16;
    question[4..6].copy_from_slice(&len.to_be_bytes());
    put(
        &mut a,
        &ip(A, 16, crate::user::plan::GATEWAY_MAC, 3, 17, &question),
    );
    let (_, answer) = frames(&mut a).remove(0);
    let address = *answer.last_chunk::<4>().unwrap();
    assert_eq!(Ipv4Addr::from(address), Ipv4Addr::new(10, 0, 2, 17));
}

#[test]
fn large_frames_are_cut_for_those_who_cannot() {
    let network = Network::new("large");
    let mut a = network.join("a", A).unwrap();
    let mut b = network.join("b", B).unwrap();
    let mut segment = vec![
        0,
        1,
        0,
        2,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        5 << 4,
        0x10,
        1,
        0,
        0,
        0,
        0,
        0,
    ];
    segment.extend(vec![7; 10_000]);
    let large = ip(A, 16, B, 17, 6, &segment);
    let offload = OffloadHeader {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    a.send(&offload, &large);
    assert_eq!(frames(&mut b).len(), 7);
    b.accept(Offloads {
        checksum: true,
        tso4: true,
        ..Offloads::NONE
    });
    a.send(&offload, &large);
    assert_eq!(frames(&mut b), [(offload, large)]);
}

#[test]
fn what_a_slow_guest_does_not_take_is_bounded() {
    let network = Network::new("slow");
    let mut a = network.join("a", A).unwrap();
    let mut b = network.join("b", B).unwrap();
    let large = ip(A, 16, B, 17, 200, &[7; 60_000]);
    for _ in 0..1000 {
        put(&mut a, &large);
    }
    assert!(a.switch.as_ref().unwrap().waiting <= super::WAITING);
    let mut came = 0;
    while let got @ 1.. = frames(&mut b).len() {
        came += got;
        a.world.now += super::RETRY;
        a.tick();
    }
    assert!((10..1000).contains(&came), "{came}");
}
