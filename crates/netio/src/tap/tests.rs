//! Over real interfaces, in a network namespace of the test's own; skipped where the host allows no
//! such namespace.

use std::net::UdpSocket;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::testing_raw::enter_namespace;
use super::{TapError, TapLink};
use crate::{Link, NEEDS_CSUM, OffloadHeader, Offloads};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CHECKSUM: Offloads = Offloads {
    checksum: true,
    ..Offloads::NONE
};

/// Runs `work` where it may make interfaces, if this host allows that.
fn in_namespace(work: impl FnOnce() + Send + 'static) {
    let allowed = std::path::Path::new(super::DEVICE).exists();
    let thread = std::thread::spawn(move || {
        if allowed && enter_namespace() {
            work();
        } else {
            eprintln!("skipped: this host allows no network namespace or no tap");
        }
    });
    thread.join().unwrap();
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

fn next(link: &mut TapLink, wanted: impl Fn(&[u8]) -> bool) -> (OffloadHeader, Vec<u8>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "no such frame");
        let mut got = None;
        link.receive(&mut |frame| {
            got = Some((frame.offload, frame.to_vec()));
            true
        });
        match got {
            Some((offload, frame)) if wanted(&frame) => return (offload, frame),
            Some(_) => {}
            None => sleep(Duration::from_millis(1)),
        }
    }
}

/// "Who has 10.9.8.`of`? Tell me", or the answer to it.
fn arp(operation: u8, to: &[u8], of: u8) -> Vec<u8> {
    let mut frame = [to, &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    frame.extend([&MAC[..], &[10, 9, 8, 2], to, &[10, 9, 8, of]].concat());
    frame.resize(60, 0);
    frame
}

#[test]
fn frames_go_both_ways_with_their_offloads() {
    in_namespace(|| {
        let mut link = TapLink::by_name("inn0", 1).unwrap().remove(0);
        assert!(link.offloads().tso4);
        ip("addr add 10.9.8.1/24 dev inn0");
        ip("link set inn0 up");
        link.accept(CHECKSUM);
        link.send(&OffloadHeader::default(), &arp(1, &[0xff; 6], 1));
        let (_, answer) = next(&mut link, |frame| frame[12..14] == [8, 6] && frame[21] == 2);
        link.send(&OffloadHeader::default(), &arp(2, &answer[6..12], 1));
        let socket = UdpSocket::bind("10.9.8.1:0").unwrap();
        for offloads in [CHECKSUM, Offloads::NONE] {
            link.accept(offloads);
            socket.send_to(b"hello", "10.9.8.2:7").unwrap();
            let (offload, frame) = next(&mut link, |frame| frame[12..14] == [8, 0]);
            assert_eq!(offload.flags & NEEDS_CSUM != 0, offloads.checksum);
            assert_eq!(&frame[42..47], b"hello");
        }
    });
}

#[test]
fn several_queues_share_a_name_and_a_descriptor_can_be_handed_over() {
    in_namespace(|| {
        let links = TapLink::by_name("inn1", 2).unwrap();
        assert_eq!(links.len(), 2);
        let fd = links[0].tap.try_clone().unwrap();
        assert!(TapLink::from_fd(fd).unwrap().offloads().checksum);
        let refused = TapLink::by_name("inn1", 1);
        assert!(matches!(refused, Err(TapError::Attach { .. })));
    });
}

#[test]
fn impossible_names_and_descriptors_are_refused() {
    for name in ["", "a/b", "sixteen-letters!", "inn%d", "nul\0"] {
        let refused = TapLink::by_name(name, 1);
        assert!(matches!(refused, Err(TapError::Name { .. })), "{name:?}");
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    let refused = TapLink::from_fd(null.into());
    assert!(matches!(refused, Err(TapError::Descriptor { .. })));
}
