//! A card whose frames the host's kernel itself moves, to an interface in a network namespace of the test's own; skipped
//! where the host has no vhost-net for this process.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use netio::{Firewall, InterfaceCounts, Link, TapLink};

use super::super::{KernelPath, Onlookers};
use super::namespace_raw;
use crate::pci::PciFunction;
use crate::virtio::F_EVENT_IDX;
use crate::virtio::net::{F_MRG_RXBUF, Net, NetHandle, NetOptions};
use crate::virtio::testing::{Buffer, Driver, ram, wait_until};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];
const RX: usize = 0;
const TX: usize = 1;
const LEN: u32 = 2048;
const HEADER: usize = 12;

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// A driver with its card, on an interface with the address 10.9.6.1.
struct Card {
    driver: Driver,
    handle: NetHandle,
    onlookers: Onlookers,
}

impl Card {
    fn new() -> Card {
        let memory = ram();
        let tap = TapLink::by_name("inn5", 1).unwrap().remove(0);
        let onlookers = Onlookers {
            firewall: Firewall::default(),
            traffic: Arc::default(),
            interface: Arc::new(InterfaceCounts::open("lo").unwrap()),
        };
        let path = KernelPath::open(&tap, &memory, onlookers.clone()).unwrap();
        let links = vec![Box::new(tap) as Box<dyn Link>];
        let net = Net::new(links, &NetOptions { mac: MAC, pairs: 1 }).by_kernel(vec![path]);
        ip("addr add 10.9.6.1/24 dev inn5");
        ip("neigh add 10.9.6.2 lladdr 02:00:00:00:00:05 dev inn5");
        ip("link set inn5 up");
        let handle = net.handle();
        let driver = Driver::with_memory(net, memory);
        Card {
            driver,
            handle,
            onlookers,
        }
    }

    fn wait_for(&self, kernel: bool) {
        wait_until(|| self.onlookers.traffic.by_kernel().is_ok() == kernel);
    }

    /// A datagram goes to the guest, and an answer of the guest's comes back.
    fn exchange(&mut self, socket: &UdpSocket, number: u8) {
        let text = [&b"number "[..], &[number]].concat();
        socket.send_to(&text, "10.9.6.2:7").unwrap();
        let frame = loop {
            let (head, len) = self.driver.answer(RX);
            let frame = self.driver.written(RX, head)[HEADER..len as usize].to_vec();
            self.driver.submit(RX, &[Buffer::In(LEN)]);
            if frame.ends_with(&text) {
                break frame;
            }
        };
        // Back to the sender: addresses and ports exchanged, which leaves the sums as they were.
        let mut back = frame.clone();
        back[..6].copy_from_slice(&frame[6..12]);
        back[6..12].copy_from_slice(&frame[..6]);
        back[26..30].copy_from_slice(&frame[30..34]);
        back[30..34].copy_from_slice(&frame[26..30]);
        back[34..36].copy_from_slice(&frame[36..38]);
        back[36..38].copy_from_slice(&frame[34..36]);
        let _ = self.driver.msi.take();
        self.driver
            .submit(TX, &[Buffer::Out(&[&[0; HEADER], &back[..]].concat())]);
        self.driver.answer(TX);
        let mut got = [0; 64];
        let (len, _) = socket.recv_from(&mut got).unwrap();
        assert_eq!(got[..len], text);
    }
}

#[test]
fn a_guest_does_not_see_who_moves_its_frames() {
    let allowed = Path::new("/dev/vhost-net").exists() && Path::new("/dev/net/tun").exists();
    let test = move || {
        if !allowed || !namespace_raw::enter() {
            eprintln!("skipped: this host has no vhost-net, or allows no network namespace");
            return;
        }
        let mut card = Card::new();
        let socket = UdpSocket::bind("10.9.6.1:0").unwrap();
        for features in [0, F_MRG_RXBUF | F_EVENT_IDX] {
            card.driver.start(features);
            card.driver.use_msix();
            for _ in 0..16 {
                card.driver.submit(RX, &[Buffer::In(LEN)]);
            }
            card.wait_for(true);
            for number in 0..40 {
                card.exchange(&socket, number);
            }
            // By this process, and by the kernel again.
            card.handle.set_link(false);
            card.wait_for(false);
            card.driver.memory.set_dirty_log(true);
            card.handle.set_link(true);
            card.exchange(&socket, 41);
            assert!(card.onlookers.traffic.by_kernel().is_err());
            card.driver.memory.set_dirty_log(false);
            card.handle.wake();
            card.wait_for(true);
            card.exchange(&socket, 42);
            // What is saved, the card goes on from.
            card.driver.function.quiesce();
            let saved = card.driver.function.save();
            card.driver.function.restore(&saved).unwrap();
            card.driver.function.resume();
            card.wait_for(true);
            card.exchange(&socket, 43);
        }
    };
    std::thread::spawn(test).join().unwrap();
}
