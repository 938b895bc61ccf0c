#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use netio::{Frame, GSO_TCPV4, Hub, HubLink, Link, NEEDS_CSUM, OffloadHeader, Offloads};
use rustix::event::{EventfdFlags, eventfd};

use super::{
    F_CSUM, F_CTRL_GUEST_OFFLOADS, F_CTRL_RX, F_CTRL_VLAN, F_CTRL_VQ, F_GUEST_CSUM, F_GUEST_TSO4,
    F_HOST_TSO4, F_MQ, F_MRG_RXBUF, F_STATUS, HEADER_LEN, Mac, Net, NetHandle, NetOptions,
};
use crate::pci::PciFunction;
use crate::virtio::F_EVENT_IDX;
use crate::virtio::testing::{Buffer, Driver, NEXT, WRITE, wait_until};

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const OTHER: Mac = [2, 0, 0, 0, 0, 2];
const RX: usize = 0;
const TX: usize = 1;
const CONTROL: usize = 2;
const NEEDS_RESET: u8 = 64;

fn options(pairs: u16) -> NetOptions {
    NetOptions { mac: MAC, pairs }
}

/// A card on a hub, and the hub's other port.
fn on_hub(features: u64) -> (Driver, HubLink, NetHandle) {
    let hub = Hub::new();
    let (link, world) = (hub.plug().unwrap(), hub.plug().unwrap());
    let net = Net::new(vec![Box::new(link)], &options(1));
    let handle = net.handle();
    let mut driver = Driver::new(net);
    driver.start(features);
    (driver, world, handle)
}

fn frame(to: Mac, len: usize) -> Vec<u8> {
    let mut frame = [&to[..], &OTHER, &[8, 0]].concat();
    frame.extend((14..len).map(|at| at as u8));
    frame
}

fn with_header(frame: &[u8]) -> Vec<u8> {
    [&[0; HEADER_LEN], frame].concat()
}

fn control(driver: &mut Driver, message: &[u8]) -> u8 {
    let head = driver.submit(CONTROL, &[Buffer::Out(message), Buffer::In(1)]);
    assert_eq!(driver.answer(CONTROL), (head, 1));
    driver.written(CONTROL, head)[0]
}

/// Waits for the next frame on the hub.
fn heard(world: &mut HubLink) -> Vec<u8> {
    let mut got = None;
    wait_until(|| {
        got = world.take();
        got.is_some()
    });
    got.unwrap()
}

#[test]
fn a_frame_goes_out_however_the_driver_cut_it() {
    let (mut driver, mut world, _) = on_hub(F_MRG_RXBUF);
    let sent = frame(OTHER, 100);
    let bytes = with_header(&sent);
    driver.submit(TX, &[Buffer::Out(&bytes)]);
    driver.submit(TX, &[Buffer::Out(&bytes[..5]), Buffer::Out(&bytes[5..])]);
    for _ in 0..2 {
        assert_eq!(heard(&mut world), sent);
        assert_eq!(driver.answer(TX).1, 0);
    }
}

#[test]
fn what_no_card_could_send_is_dropped() {
    let (mut driver, mut world, _) = on_hub(0);
    let unfinished = [&[NEEDS_CSUM][..], &[0; HEADER_LEN - 1], &frame(OTHER, 60)].concat();
    for bytes in [
        &[][..],
        &[0; HEADER_LEN],
        &vec![0; 70_000],
        &with_header(&[0; 13]),
        &unfinished,
    ] {
        driver.submit(TX, &[Buffer::Out(bytes)]);
        driver.answer(TX);
    }
    driver.submit(TX, &[Buffer::Out(&with_header(&frame(OTHER, 60)))]);
    assert_eq!(heard(&mut world).len(), 60);
    assert!(world.take().is_none());
}

#[test]
fn a_frame_comes_in_with_its_header() {
    let (mut driver, mut world, _) = on_hub(0);
    let head = driver.submit(RX, &[Buffer::In(12), Buffer::In(1514)]);
    let sent = frame(MAC, 200);
    world.put(&sent);
    assert_eq!(driver.answer(RX), (head, 212));
    let written = driver.written(RX, head);
    assert_eq!(written[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(written[12..212], sent);
}

#[test]
fn mergeable_buffers_share_a_frame() {
    let (mut driver, mut world, _) = on_hub(F_MRG_RXBUF);
    let heads = [20, 100, 300, 1000].map(|len| driver.submit(RX, &[Buffer::In(len)]));
    let sent = frame(MAC, 308);
    world.put(&sent);
    let mut got = Vec::new();
    for (head, len) in heads.into_iter().zip([20, 100, 200]) {
        assert_eq!(driver.answer(RX), (head, len));
        got.extend(driver.written(RX, head));
    }
    assert_eq!(got[10..12], [3, 0]);
    assert_eq!(got[12..320], sent);
    assert!(!driver.has_answer(RX), "the fourth buffer is for the next");
}

#[test]
fn without_mergeable_buffers_a_short_buffer_loses_the_frame() {
    let (mut driver, mut world, _) = on_hub(0);
    driver.submit(RX, &[Buffer::In(100)]);
    driver.submit(RX, &[Buffer::In(100)]);
    world.put(&frame(MAC, 200));
    world.put(&frame(MAC, 88));
    assert_eq!(driver.answer(RX).1, 0);
    assert_eq!(driver.answer(RX).1, 100);
}

#[test]
fn a_frame_waits_for_buffers() {
    for features in [F_MRG_RXBUF, F_MRG_RXBUF | F_EVENT_IDX] {
        let (mut driver, mut world, _) = on_hub(features);
        driver.submit(RX, &[Buffer::In(64)]);
        let sent = frame(MAC, 500);
        world.put(&sent);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!driver.has_answer(RX));
        let head = driver.submit(RX, &[Buffer::In(1000)]);
        assert_eq!(driver.answer(RX).1, 64);
        assert_eq!(driver.answer(RX), (head, 512 - 64));
        assert_eq!(driver.written(RX, head)[..448], sent[52..]);
    }
}

#[test]
fn a_driver_that_breaks_the_protocol_needs_a_reset() {
    let nothing: &[&[(u64, u32, u16, u16)]] = &[
        &[(0x30_0000, 0, WRITE, 0)],
        &[(0x30_0000, 11, WRITE, 0)],
        &[(0x30_0000, 2000, 0, 0)],
        &[(u64::MAX - 10, 2000, WRITE, 0)],
        &[(0x30_0000, 2000, WRITE | NEXT, 0)],
    ];
    for bad in nothing {
        let (mut driver, mut world, _) = on_hub(F_MRG_RXBUF);
        driver.enqueue_raw(RX, bad);
        driver.notify(RX);
        world.put(&frame(MAC, 100));
        wait_until(|| driver.status() & NEEDS_RESET != 0);
        driver.start(F_MRG_RXBUF);
        driver.submit(RX, &[Buffer::In(2000)]);
        world.put(&frame(MAC, 100));
        driver.answer(RX);
    }
}

#[test]
fn the_driver_chooses_what_it_hears() {
    let (mut driver, mut world, _) = on_hub(F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN);
    let mut hears = |driver: &mut Driver, to: Mac| {
        let last = frame(MAC, 61);
        driver.submit(RX, &[Buffer::In(100)]);
        world.put(&frame(to, 60));
        world.put(&last);
        let heard = driver.answer(RX).1 == 72;
        if heard {
            driver.submit(RX, &[Buffer::In(100)]);
            driver.answer(RX);
        }
        heard
    };
    assert!(hears(&mut driver, OTHER), "all, before it has chosen");
    assert_eq!(control(&mut driver, &[0, 0, 0]), 0);
    assert!(!hears(&mut driver, OTHER) && hears(&mut driver, [0xff; 6]));
    let tables = [&[1, 0, 1, 0, 0, 0][..], &OTHER, &[0; 4]].concat();
    assert_eq!(control(&mut driver, &tables), 0);
    assert!(hears(&mut driver, OTHER));
    assert_eq!(
        control(&mut driver, &[&[1, 1][..], &[2, 9, 9, 9, 9, 9]].concat()),
        0
    );
    let device = driver.device;
    assert_eq!(driver.function_read(device, 4), 0x0909_0902);
}

#[test]
fn control_messages_that_mean_nothing_are_refused() {
    let (mut driver, _world, _) = on_hub(F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN);
    for message in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 6, 1],
        &[1, 0, 1, 0, 0, 0],
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[1, 1, 1, 2, 3],
        &[2, 0, 0, 0x10],
        &[2, 2, 0, 0],
        &[4, 0, 0, 0],
        &[4, 0, 2, 0],
        &[5, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[9, 0, 0],
        &vec![0; 20_000],
    ] {
        assert_eq!(control(&mut driver, message), 1, "{message:?}");
    }
    assert_eq!(control(&mut driver, &[2, 0, 5, 0]), 0);
    assert_eq!(driver.status() & NEEDS_RESET, 0);
}

#[test]
fn the_cable_can_be_pulled() {
    let (mut driver, mut world, handle) = on_hub(F_STATUS);
    let status = driver.device + 6;
    assert_eq!(driver.function_read(status, 2), 1);
    let isr = driver.isr;
    handle.set_link(false);
    wait_until(|| driver.function_read(isr, 1) & 2 != 0);
    assert_eq!(driver.function_read(status, 2), 0);
    driver.submit(TX, &[Buffer::Out(&with_header(&frame(OTHER, 60)))]);
    driver.answer(TX);
    assert!(world.take().is_none());
    handle.set_link(true);
    handle.announce();
    wait_until(|| driver.function_read(isr, 1) & 2 != 0);
    assert_eq!(driver.function_read(status, 2), 3);
}

/// A link that notes what it was told and has frames to give.
#[derive(Debug)]
struct TestLink {
    told: Arc<Mutex<Told>>,
    events: OwnedFd,
}

#[derive(Debug, Default)]
struct Told {
    accepted: Offloads,
    sent: Vec<(OffloadHeader, Vec<u8>)>,
    waiting: VecDeque<(OffloadHeader, Vec<u8>)>,
}

const ALL: Offloads = Offloads {
    checksum: true,
    tso4: true,
    tso6: true,
    ecn: true,
};

impl TestLink {
    fn plugged() -> (Box<dyn Link>, Arc<Mutex<Told>>) {
        let told = Arc::new(Mutex::new(Told::default()));
        let events = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let link = TestLink {
            told: Arc::clone(&told),
            events,
        };
        (Box::new(link), told)
    }
}

impl Link for TestLink {
    fn offloads(&self) -> Offloads {
        ALL
    }

    fn accept(&mut self, guest: Offloads) {
        self.told.lock().unwrap().accepted = guest;
    }

    fn send(&mut self, offload: &OffloadHeader, frame: &[u8]) {
        self.told
            .lock()
            .unwrap()
            .sent
            .push((*offload, frame.to_vec()));
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool {
        let mut told = self.told.lock().unwrap();
        let Some((offload, bytes)) = told.waiting.front() else {
            return false;
        };
        let (first, rest) = bytes.split_at(50);
        let taken = deliver(&Frame {
            offload: *offload,
            parts: &[first, rest],
        });
        if taken {
            told.waiting.pop_front();
        }
        taken
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        Some(self.events.as_fd())
    }

    fn mtu(&self) -> Option<u16> {
        Some(9000)
    }
}

#[test]
fn offloads_go_through_as_negotiated() {
    let (link, told) = TestLink::plugged();
    let mut driver = Driver::new(Net::new(vec![link], &options(1)));
    let device = driver.device;
    assert_eq!(driver.function_read(device + 10, 2), 9000);
    driver.start(F_CSUM | F_HOST_TSO4 | F_GUEST_CSUM | F_GUEST_TSO4 | F_MRG_RXBUF);
    let negotiated = Offloads {
        tso6: false,
        ecn: false,
        ..ALL
    };
    assert_eq!(told.lock().unwrap().accepted, negotiated);
    let segments = OffloadHeader {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    let of_version_6 = OffloadHeader {
        gso_type: netio::GSO_TCPV6,
        ..segments
    };
    let big = frame(OTHER, 60_000);
    for header in [of_version_6, segments] {
        let bytes = [&header.to_bytes()[..], &[0, 0], &big].concat();
        driver.submit(TX, &[Buffer::Out(&bytes)]);
        driver.answer(TX);
    }
    assert_eq!(told.lock().unwrap().sent, [(segments, big)]);
    told.lock()
        .unwrap()
        .waiting
        .push_back((segments, frame(MAC, 3000)));
    let head = driver.submit(RX, &[Buffer::In(4000)]);
    assert_eq!(driver.answer(RX).1, 3012);
    let written = driver.written(RX, head);
    assert_eq!(written[..10], segments.to_bytes());
    assert_eq!(written[12..3012], frame(MAC, 3000));
}

#[test]
fn offloads_can_be_switched_at_work() {
    let (link, told) = TestLink::plugged();
    let mut driver = Driver::new(Net::new(vec![link], &options(1)));
    driver.start(F_GUEST_CSUM | F_GUEST_TSO4 | F_CTRL_VQ | F_CTRL_GUEST_OFFLOADS);
    assert!(told.lock().unwrap().accepted.tso4);
    assert_eq!(control(&mut driver, &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0]), 0);
    let accepted = told.lock().unwrap().accepted;
    assert!(accepted.checksum && !accepted.tso4);
    assert_eq!(control(&mut driver, &[5, 0, 0, 2, 0, 0, 0, 0, 0, 0]), 1);
}

#[test]
fn each_flow_has_a_pair_of_queues() {
    let (link, told) = TestLink::plugged();
    let mut driver = Driver::new(Net::new(vec![link], &options(2)));
    let device = driver.device;
    assert_eq!(driver.function_read(device + 8, 2), 2);
    driver.start(F_MQ | F_CTRL_VQ | F_MRG_RXBUF);
    let head = driver.submit(4, &[Buffer::Out(&[4, 0, 2, 0]), Buffer::In(1)]);
    driver.answer(4);
    assert_eq!(driver.written(4, head), [0]);
    for queue in [0, 2] {
        driver.submit(queue, &[Buffer::In(2000)]);
    }
    let mut packet = [&OTHER[..], &MAC, &[8, 0, 0x45]].concat();
    packet.resize(60, 7);
    driver.submit(3, &[Buffer::Out(&with_header(&packet))]);
    driver.answer(3);
    told.lock()
        .unwrap()
        .waiting
        .push_back((OffloadHeader::default(), packet));
    driver.submit(1, &[Buffer::Out(&with_header(&frame(OTHER, 60)))]);
    driver.answer(2);
    assert!(!driver.has_answer(0));
}

#[test]
fn control_is_the_third_queue_for_a_driver_without_multiqueue() {
    let (link, _) = TestLink::plugged();
    let mut driver = Driver::new(Net::new(vec![link], &options(2)));
    driver.start(F_CTRL_VQ | F_CTRL_RX);
    assert_eq!(control(&mut driver, &[0, 0, 1]), 0);
}

#[test]
fn each_pair_can_have_a_link_and_a_worker() {
    let (links, told): (Vec<_>, Vec<_>) = (0..2).map(|_| TestLink::plugged()).unzip();
    let mut driver = Driver::new(Net::new(links, &options(1)));
    driver.start(F_MQ | F_CTRL_VQ);
    for (pair, told) in told.iter().enumerate() {
        let queue = 2 * pair + 1;
        driver.submit(
            queue,
            &[Buffer::Out(&with_header(&frame(OTHER, 60 + pair)))],
        );
        driver.answer(queue);
        assert_eq!(told.lock().unwrap().sent[0].1.len(), 60 + pair);
    }
    let head = driver.submit(4, &[Buffer::Out(&[4, 0, 2, 0]), Buffer::In(1)]);
    driver.answer(4);
    assert_eq!(driver.written(4, head), [0]);
}

#[test]
fn a_restored_card_goes_on() {
    let features = F_CTRL_VQ | F_CTRL_RX | F_MRG_RXBUF;
    let (mut before, _world, _) = on_hub(features);
    assert_eq!(control(&mut before, &[0, 0, 0]), 0);
    before.submit(RX, &[Buffer::In(2000)]);
    before.function.quiesce();
    let saved = before.function.save();
    let hub = Hub::new();
    let (link, mut world) = (hub.plug().unwrap(), hub.plug().unwrap());
    let net = Net::new(vec![Box::new(link)], &options(1));
    let mut after = Driver::with_memory(net, before.memory.clone());
    after.function.restore(&saved).unwrap();
    assert_eq!(after.function.save(), saved);
    after.continue_from(before);
    after.function.resume();
    world.put(&frame(OTHER, 60));
    world.put(&frame(MAC, 61));
    assert_eq!(
        after.answer(RX).1,
        73,
        "what it does not want it does not get"
    );
}

#[test]
fn other_shapes_are_not_restored() {
    let net = |pairs| {
        let link: Box<dyn Link> = TestLink::plugged().0;
        Driver::new(Net::new(vec![link], &options(pairs)))
    };
    let saved = net(2).function.save();
    assert!(net(1).function.restore(&saved).is_err());
    assert!(net(2).function.restore(&saved).is_ok());
}
