//! A card whose frames a kernel moves that the test plays, over a hub for those that pass the process.

#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

mod kernel;
mod namespace_raw;
mod stand_in;

use std::num::NonZeroU64;
use std::sync::Arc;

use memory::{Gpa, GuestMemory, RamRange};
use netio::{Action, Firewall, Hub, HubLink, InterfaceCounts, Link, Rules, Signal, Traffic, Vhost};

use super::{KernelPath, Onlookers};
use crate::pci::{COMMAND, COMMAND_MEMORY, PciFunction};
use crate::virtio::net::{
    F_CTRL_VQ, F_MQ, F_MRG_RXBUF, Gates, Mac, Net, NetHandle, NetOptions, kernel_memory_raw,
};
use crate::virtio::testing::{Buffer, Driver, QUEUE_SIZE, RAM, queue_state, ram, wait_until};
use crate::virtio::{F_EVENT_IDX, F_VERSION_1, RateLimit};
use stand_in::StandIn;

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const RX: usize = 0;
const TX: usize = 1;
const NEEDS_RESET: u8 = 64;

struct Card {
    driver: Driver,
    /// One for each pair.
    kernels: Vec<StandIn>,
    world: HubLink,
    handle: NetHandle,
    onlookers: Onlookers,
    gates: Gates,
}

impl Card {
    fn new() -> Card {
        Card::with(ram(), 1)
    }

    fn with(memory: GuestMemory, pairs: u16) -> Card {
        let hub = Hub::new();
        let interface = InterfaceCounts::open("lo").unwrap();
        let onlookers = Onlookers {
            firewall: Firewall::default(),
            traffic: Arc::default(),
            interface: Arc::new(interface),
        };
        let (mut kernels, mut paths, mut links) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs {
            let link = hub.plug().unwrap();
            let tap = link.events().unwrap().try_clone_to_owned().unwrap();
            let kernel = StandIn::default();
            let table = kernel_memory_raw::table(&memory).unwrap();
            let vhost = Vhost::over(Box::new(kernel.clone()), tap, table).unwrap();
            paths.push(KernelPath::over(vhost, &memory, onlookers.clone()));
            links.push(Box::new(link) as Box<dyn Link>);
            kernels.push(kernel);
        }
        let gates = Gates::default();
        let net = Net::new(links, &NetOptions { mac: MAC, pairs });
        let net = net.through(gates.clone()).by_kernel(paths);
        let handle = net.handle();
        Card {
            driver: Driver::with_memory(net, memory),
            kernels,
            world: hub.plug().unwrap(),
            handle,
            onlookers,
            gates,
        }
    }

    fn kernel(&self) -> &StandIn {
        &self.kernels[0]
    }

    fn traffic(&self) -> &Traffic {
        &self.onlookers.traffic
    }

    /// Begins, with the kernel at work.
    fn started(features: u64) -> Card {
        let mut card = Card::new();
        card.driver.start(features);
        card.wait_for_kernel();
        card
    }

    fn wait_for_kernel(&self) {
        wait_until(|| self.kernel().is_at_work());
        // Whoever changes sides has the worker look at what is there.
        wait_until(|| self.traffic().by_kernel() == Ok(()));
    }

    /// The frame comes out of the card by this process.
    fn sends_here(&mut self) {
        let frame = [&[0; 12], &MAC[..], &MAC, &[8, 0], &[7; 50]].concat();
        self.driver.submit(TX, &[Buffer::Out(&frame)]);
        self.driver.answer(TX);
        wait_until(|| self.world.take().is_some());
    }

    fn why_not(&self) -> String {
        self.traffic().by_kernel().unwrap_err()
    }
}

#[test]
fn the_kernel_hears_the_driver_and_interrupts_it() {
    let mut card = Card::started(F_MRG_RXBUF | F_EVENT_IDX | F_CTRL_VQ);
    let features = card.kernel().given().features;
    assert_eq!(features, F_MRG_RXBUF | F_EVENT_IDX | F_VERSION_1);
    assert_eq!(card.kernel().given().sizes, [QUEUE_SIZE; 2]);
    // Both are rung when it begins.
    wait_until(|| card.kernel().was_kicked(0) && card.kernel().was_kicked(1));
    card.driver.use_msix();
    for ring in [RX, TX] {
        let head = card.driver.submit(ring, &[Buffer::In(100)]);
        assert!(card.kernel().was_kicked(ring as u32));
        let memory = card.driver.memory.clone();
        card.kernel().serve(ring as u32, &memory, 62);
        assert_eq!(card.driver.answer(ring), (head, 62));
        let message = 0x40 + 1 + ring as u32;
        let mut sent = Vec::new();
        wait_until(|| {
            sent.extend(card.driver.msi.take());
            sent.iter().any(|(_, data)| *data == message)
        });
    }
    // The control queue stays here.
    let head = card
        .driver
        .submit(2, &[Buffer::Out(&[0, 0, 1]), Buffer::In(1)]);
    assert_eq!(card.driver.answer(2), (head, 1));
    assert!(card.kernel().is_at_work());
}

#[test]
fn what_is_saved_is_an_ordinary_card() {
    let mut card = Card::started(0);
    card.driver.submit(RX, &[Buffer::In(100)]);
    card.driver.submit(RX, &[Buffer::In(100)]);
    let memory = card.driver.memory.clone();
    card.kernel().serve(0, &memory, 62);
    card.driver.function.quiesce();
    assert_eq!(card.kernel().given().at_work, [false; 2]);
    let saved = card.driver.function.save();

    let hub = Hub::new();
    let (link, mut world) = (hub.plug().unwrap(), hub.plug().unwrap());
    let plain = Net::new(vec![Box::new(link)], &NetOptions { mac: MAC, pairs: 1 });
    let mut plain = Driver::with_memory(plain, memory.clone());
    plain.function.restore(&saved).unwrap();
    assert_eq!(plain.function.save(), saved);

    // The one that was saved goes on by the kernel, from where it was.
    card.driver.function.resume();
    card.wait_for_kernel();
    assert_eq!(card.kernel().given().bases, [1, 0]);
    assert_eq!(card.kernel().given().begun, 2);
    card.driver.function.quiesce();

    // And the other without one.
    plain.continue_from(card.driver);
    plain.answer(RX);
    plain.function.resume();
    world.put(&[&MAC[..], &[2; 6], &[8, 0], &[1; 46]].concat());
    assert_eq!(plain.answer(RX).1, 12 + 60);
}

#[test]
fn frames_pass_the_process_while_somebody_has_to_see_them() {
    let mut card = Card::started(0);
    let slow = RateLimit {
        operations: NonZeroU64::new(1_000_000),
        ..RateLimit::default()
    };
    let closed = Rules {
        into: Action::Drop,
        ..Rules::default()
    };
    type Change = (fn(&Card, bool, &Rules, RateLimit), &'static str);
    let changes: [Change; 3] = [
        (
            |card, on, rules, _| {
                let rules = if on { rules.clone() } else { Rules::default() };
                card.onlookers.firewall.set(rules);
            },
            "rules",
        ),
        (
            |card, on, _, slow| {
                let limit = if on { slow } else { RateLimit::default() };
                card.gates.from_guest.set(limit);
            },
            "rate",
        ),
        (|card, on, _, _| card.handle.set_link(!on), "cable"),
    ];
    for (change, why) in changes {
        change(&card, true, &closed, slow);
        card.handle.wake();
        wait_until(|| !card.kernel().is_at_work());
        wait_until(|| {
            card.traffic()
                .by_kernel()
                .is_err_and(|told| told.contains(why))
        });
        if why != "cable" {
            card.sends_here();
        }
        change(&card, false, &closed, slow);
        card.handle.wake();
        card.wait_for_kernel();
    }
}

#[test]
fn the_kernel_writes_nothing_while_writes_are_logged() {
    let mut card = Card::started(0);
    let pauses = |card: &mut Card, log: bool| {
        card.driver.function.quiesce();
        assert_eq!(card.kernel().given().at_work, [false; 2]);
        card.driver.memory.set_dirty_log(log);
        card.driver.function.resume();
    };
    pauses(&mut card, true);
    card.sends_here();
    assert!(!card.kernel().is_at_work());
    assert!(card.why_not().contains("memory"));
    let used = Gpa(queue_state(TX as u64, QUEUE_SIZE).device);
    assert!(card.driver.memory.take_dirty_log().contains(&used));
    pauses(&mut card, false);
    card.wait_for_kernel();
}

#[test]
fn what_makes_no_sense_to_the_kernel_is_judged_here() {
    let mut card = Card::started(0);
    card.driver.enqueue_raw(TX, &[(RAM - 8, 16, 0, 0)]);
    card.kernel().signal(1, Signal::Error);
    wait_until(|| card.driver.status() & NEEDS_RESET != 0);
    assert!(!card.kernel().is_at_work());
    assert!(card.why_not().contains("no sense"));
    card.driver.start(0);
    card.wait_for_kernel();

    // A kernel that is wrong costs no more than its service.
    card.kernel().signal(0, Signal::Error);
    wait_until(|| !card.kernel().is_at_work());
    card.sends_here();
    assert_eq!(card.driver.status() & NEEDS_RESET, 0);
    assert!(!card.kernel().is_at_work());
}

#[test]
fn a_kernel_that_refuses_is_asked_once_a_driver() {
    let mut card = Card::new();
    card.kernel().given().refuses = true;
    card.driver.start(0);
    card.sends_here();
    card.sends_here();
    assert!(card.why_not().contains("refused"), "{}", card.why_not());
    card.kernel().given().refuses = false;
    card.sends_here();
    assert_eq!(card.kernel().given().begun, 0);
    card.driver.start(0);
    card.wait_for_kernel();
}

#[test]
fn a_ring_across_two_pieces_of_ram_is_served_here() {
    let middle = queue_state(TX as u64, QUEUE_SIZE).descriptors + 4096;
    let pieces = [(0, middle), (middle, RAM - middle)];
    let ranges = pieces.map(|(base, len)| RamRange {
        base: Gpa(base),
        len,
    });
    let mut card = Card::with(GuestMemory::new(&ranges).unwrap(), 1);
    let mut state = queue_state(TX as u64, QUEUE_SIZE);
    assert!(card.driver.negotiate(0));
    card.driver
        .enable_queue(RX as u64, &queue_state(RX as u64, QUEUE_SIZE));
    state.descriptors = middle - 16;
    card.driver.enable_queue(TX as u64, &state);
    card.driver.write(0x14, 1, 0xf);
    wait_until(|| {
        card.traffic()
            .by_kernel()
            .is_err_and(|why| why.contains("queues"))
    });
    assert_eq!(card.kernel().given().begun, 0);
    assert_eq!(card.driver.status() & NEEDS_RESET, 0);
    // Whole again, and the kernel's.
    card.driver.start(0);
    card.wait_for_kernel();
}

#[test]
fn the_kernel_has_nothing_after_a_reset_or_without_the_bus() {
    let mut card = Card::started(0);
    card.driver.write(0x14, 1, 0);
    assert_eq!(card.kernel().given().at_work, [false; 2]);
    card.driver.start(0);
    card.wait_for_kernel();
    let command = COMMAND_MEMORY.into();
    card.driver.function.config_write(COMMAND, 2, command);
    assert_eq!(card.kernel().given().at_work, [false; 2]);
}

#[test]
fn a_card_that_goes_leaves_nobody_at_work() {
    let card = Card::started(0);
    let kernel = card.kernel().clone();
    drop(card);
    assert_eq!(kernel.given().at_work, [false; 2]);
}

#[test]
fn each_pair_that_the_guest_uses_has_its_kernel() {
    let mut card = Card::with(ram(), 2);
    card.driver.start(F_MQ | F_CTRL_VQ);
    card.wait_for_kernel();
    assert!(!card.kernels[1].is_at_work());
    let pairs = |card: &mut Card, count: u8| {
        let message = [4, 0, count, 0];
        let head = card
            .driver
            .submit(4, &[Buffer::Out(&message), Buffer::In(1)]);
        assert_eq!(card.driver.answer(4), (head, 1));
    };
    pairs(&mut card, 2);
    wait_until(|| card.kernels[1].is_at_work());
    pairs(&mut card, 1);
    wait_until(|| !card.kernels[1].is_at_work());
    assert!(card.kernels[0].is_at_work());
    assert_eq!(card.traffic().by_kernel(), Ok(()));
}
