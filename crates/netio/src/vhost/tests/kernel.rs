//! Frames by the kernel itself, between an interface in a network namespace of the test's own and rings in this
//! process's memory; skipped where the host has no vhost-net for this process.

#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::tap::testing_raw::enter_namespace;
use crate::vhost::testing_raw::{BASE, table};
use crate::{Heard, InterfaceCounts, LentRing, Link, Offloads, RingPlace, TapLink, Traffic, Vhost};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// VIRTIO_F_VERSION_1, and nothing that makes rings less simple.
const FEATURES: u64 = 1 << 32;
const SIZE: u16 = 16;
/// Bytes between two rings' parts, and of each buffer.
const STEP: u64 = 0x1_0000;
const DRIVER: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const BUFFERS: u64 = 0x4000;
const BUFFER: u64 = 0x800;
/// `struct virtio_net_hdr` with its count of buffers.
const HEADER: usize = 12;
const WRITE: u64 = 2;

/// A guest's driver, with its memory.
struct Driver {
    words: Arc<[AtomicU64]>,
    kicks: [OwnedFd; 2],
    offered: [u16; 2],
    seen: [u16; 2],
}

impl Driver {
    fn new() -> Driver {
        let kick = || eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let driver = Driver {
            words: (0..2 * STEP / 8).map(|_| AtomicU64::new(0)).collect(),
            kicks: [kick(), kick()],
            offered: [0; 2],
            seen: [0; 2],
        };
        for ring in 0..2 {
            for slot in 0..u64::from(SIZE) {
                let buffer = BASE + ring * STEP + BUFFERS + slot * BUFFER;
                driver.set(ring * STEP + 16 * slot, 8, buffer);
                let flags = if ring == 0 { WRITE } else { 0 };
                driver.set(ring * STEP + 16 * slot + 8, 8, BUFFER | flags << 32);
            }
        }
        driver
    }

    /// A number of so many bytes, which lie in one word.
    fn get(&self, at: u64, len: u64) -> u64 {
        let word = self.words[usize::try_from(at / 8).unwrap()].load(Ordering::SeqCst);
        word >> (8 * (at % 8)) & (u64::MAX >> (64 - 8 * len))
    }

    fn set(&self, at: u64, len: u64, value: u64) {
        let shift = 8 * (at % 8);
        let mask = (u64::MAX >> (64 - 8 * len)) << shift;
        let word = &self.words[usize::try_from(at / 8).unwrap()];
        let old = word.load(Ordering::SeqCst);
        word.store(old & !mask | value << shift, Ordering::SeqCst);
    }

    /// The rings, from where they are.
    fn lent<'a>(&'a self, vhost: &Vhost, next_available: [u16; 2]) -> [LentRing<'a>; 2] {
        [0, 1].map(|index| {
            let at = BASE + index as u64 * STEP;
            let host = |offset| vhost.host(at + offset, 16).unwrap();
            LentRing {
                place: RingPlace {
                    descriptors: host(0),
                    driver: host(DRIVER),
                    device: host(DEVICE),
                },
                size: SIZE,
                next_available: next_available[index],
                kick: self.kicks[index].as_fd(),
            }
        })
    }

    /// The next descriptor of a ring is the device's.
    fn offer(&mut self, ring: usize) {
        let at = ring as u64 * STEP + DRIVER;
        let slot = self.offered[ring] % SIZE;
        self.set(at + 4 + 2 * u64::from(slot), 2, slot.into());
        self.offered[ring] = self.offered[ring].wrapping_add(1);
        self.set(at + 2, 2, self.offered[ring].into());
        rustix::io::write(&self.kicks[ring], &1u64.to_ne_bytes()).unwrap();
    }

    /// The next buffer that the device is done with: its number, and bytes that were written.
    fn done(&mut self, ring: usize) -> Option<(u64, usize)> {
        let at = ring as u64 * STEP + DEVICE;
        if self.get(at + 2, 2) == u64::from(self.seen[ring]) {
            return None;
        }
        let element = self.get(at + 4 + 8 * u64::from(self.seen[ring] % SIZE), 4);
        let len = self.get(at + 8 + 8 * u64::from(self.seen[ring] % SIZE), 4);
        self.seen[ring] = self.seen[ring].wrapping_add(1);
        Some((element, usize::try_from(len).unwrap()))
    }

    fn send(&mut self, frame: &[u8]) {
        let slot = u64::from(self.offered[1] % SIZE);
        let buffer = STEP + BUFFERS + slot * BUFFER;
        let bytes = [&[0; HEADER], frame].concat();
        for (at, byte) in (buffer..).zip(&bytes) {
            self.set(at, 1, u64::from(*byte));
        }
        self.set(STEP + 16 * slot + 8, 4, bytes.len() as u64);
        self.offer(1);
    }

    /// The next frame that is wanted. Buffers are given back.
    fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let Some((slot, len)) = self.done(0) else {
                sleep(Duration::from_millis(1));
                continue;
            };
            let buffer = BUFFERS + slot * BUFFER;
            let bytes = (buffer..).take(len).map(|at| self.get(at, 1) as u8);
            let frame: Vec<u8> = bytes.skip(HEADER).collect();
            self.offer(0);
            if wanted(&frame) {
                return frame;
            }
        }
        panic!("no such frame");
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// "Who has 10.9.7.1? Tell me", or the answer to it.
fn arp(operation: u8, to: &[u8]) -> Vec<u8> {
    let mut frame = [to, &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    frame.extend([&MAC[..], &[10, 9, 7, 2], to, &[10, 9, 7, 1]].concat());
    frame.resize(60, 0);
    frame
}

/// Runs `work` where there are vhost-net and an interface of this name, which is up.
fn with_interface(name: &'static str, work: impl FnOnce(&mut TapLink) + Send + 'static) {
    let allowed = Path::new("/dev/vhost-net").exists() && Path::new("/dev/net/tun").exists();
    let thread = std::thread::spawn(move || {
        if !allowed || !enter_namespace() {
            eprintln!("skipped: this host has no vhost-net, or allows no network namespace");
            return;
        }
        let mut link = TapLink::by_name(name, 1).unwrap().remove(0);
        link.accept(Offloads::NONE);
        ip(&format!("addr add 10.9.7.1/24 dev {name}"));
        ip(&format!("link set {name} up"));
        work(&mut link);
    });
    thread.join().unwrap();
}

fn called(vhost: &Vhost, ring: usize) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        match vhost.heard() {
            Heard::Calls(calls) if calls[ring] => return true,
            Heard::Calls(_) => sleep(Duration::from_millis(1)),
            Heard::Error => return false,
        }
    }
    false
}

#[test]
fn the_kernel_moves_frames_and_gives_the_rings_back() {
    with_interface("inn7", |link| {
        let mut driver = Driver::new();
        let mut vhost = Vhost::open(link.tap().unwrap(), table(&driver.words)).unwrap();
        let list = Path::new("/proc/thread-self/net/dev");
        let interface = Arc::new(InterfaceCounts::within(list, "inn7").unwrap());
        let traffic = Traffic::default();
        for _ in 1..SIZE {
            driver.offer(0);
        }
        traffic.kernel_begins(&interface);
        let rings = driver.lent(&vhost, [0; 2]);
        vhost.begin(FEATURES, rings).unwrap();
        driver.send(&arp(1, &[0xff; 6]));
        let answer = driver.receive(|frame| frame[12..14] == [8, 6] && frame[21] == 2);
        assert!(called(&vhost, 0));
        driver.send(&arp(2, &answer[6..12]));
        let socket = UdpSocket::bind("10.9.7.1:0").unwrap();
        socket.send_to(b"by the kernel", "10.9.7.2:7").unwrap();
        let got = driver.receive(|frame| frame[12..14] == [8, 0]);
        assert_eq!(&got[42..55], b"by the kernel");
        let bases = vhost.end().unwrap();
        traffic.kernel_ends();
        assert_eq!(bases[1], 2);
        while driver.done(0).is_some() {}
        assert_eq!(bases[0], driver.seen[0]);
        let (sent, received) = (traffic.sent(), traffic.received());
        assert_eq!((sent.frames, sent.bytes), (2, 120));
        assert!(
            received.frames >= 2 && received.bytes >= 55 + 42,
            "{received:?}"
        );

        // Now frames are this process's to read.
        socket.send_to(b"by us", "10.9.7.2:7").unwrap();
        let mut ours = Vec::new();
        while !ours.ends_with(b"by us") {
            link.receive(&mut |frame| {
                ours = frame.to_vec();
                true
            });
        }
        assert!(driver.done(0).is_none());

        // And the kernel's again, from where it was, with what waits.
        socket.send_to(b"again", "10.9.7.2:7").unwrap();
        let rings = driver.lent(&vhost, bases);
        vhost.begin(FEATURES, rings).unwrap();
        let got = driver.receive(|frame| frame[12..14] == [8, 0]);
        assert!(got.ends_with(b"again"));
    });
}

#[test]
fn a_ring_that_makes_no_sense_is_told_and_reaches_nothing() {
    with_interface("inn6", |link| {
        let mut driver = Driver::new();
        let mut vhost = Vhost::open(link.tap().unwrap(), table(&driver.words)).unwrap();
        // A buffer beside the table.
        driver.set(STEP, 8, BASE + 2 * STEP - 16);
        driver.set(STEP + 8, 8, 64);
        let rings = driver.lent(&vhost, [0; 2]);
        vhost.begin(FEATURES, rings).unwrap();
        driver.offer(1);
        let deadline = Instant::now() + Duration::from_secs(20);
        while vhost.heard() != Heard::Error {
            assert!(Instant::now() < deadline, "nothing was told");
            sleep(Duration::from_millis(1));
        }
        vhost.end().unwrap();
    });
}
