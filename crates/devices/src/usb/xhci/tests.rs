#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::BlockDevice;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{Xhci, XhciParts};
use crate::Pace;
use crate::pci::PciFunction;
use crate::testing::{FakeClock, FakeLine, FakeMsi, FakeTimer};
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::{RateGate, RateLimit, TabletEvent};

const CONTEXTS: u64 = 0x1000;
const COMMANDS: u64 = 0x2000;
const SEGMENTS: u64 = 0x3000;
const EVENTS: u64 = 0x4000;
const INPUT: u64 = 0x5000;
const DEVICES: u64 = 0x6000;
const RINGS: u64 = 0x1_0000;
const DATA: u64 = 0x4_0000;
const OPERATION: u64 = 0x40;
const INTERRUPTER: u64 = 0x1020;
const DOORBELLS: u64 = 0x2000;

struct Bench {
    xhci: Xhci,
    memory: GuestMemory,
    disk: Arc<MemoryDisk>,
    line: Arc<FakeLine>,
    msi: Arc<FakeMsi>,
    gate: RateGate,
    timer: Arc<FakeTimer>,
    /// Requests put into each ring, by slot and endpoint; the command ring is the first.
    put: [u64; 256],
    taken: u64,
}

/// A disk on the first port, a tablet on the second, a keyboard on the third; the controller runs.
fn bench() -> Bench {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x20_0000,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let disk = Arc::new(MemoryDisk::new(0x10_0000));
    disk.write_at(b"a stick", 3 * 512).unwrap();
    let (line, msi) = (FakeLine::new(), FakeMsi::new());
    let (gate, timer) = (RateGate::default(), FakeTimer::new());
    let parts = XhciParts {
        memory: memory.clone(),
        msi: Arc::clone(&msi) as _,
        line: Arc::clone(&line) as _,
        pace: Pace::new(gate.clone(), FakeClock::new(), Arc::clone(&timer) as _),
    };
    let disks = vec![(Arc::clone(&disk) as _, "abc".to_owned())];
    let mut bench = Bench {
        xhci: Xhci::new(disks, parts),
        memory,
        disk,
        line,
        msi,
        gate,
        timer,
        put: [0; 256],
        taken: 0,
    };
    bench.xhci.config_write(0x04, 2, 6);
    assert_eq!(bench.read(0x00) & 0xff, OPERATION);
    bench.write(OPERATION, 2);
    assert_eq!(bench.read(OPERATION + 4) & 1, 1);
    bench.write(OPERATION + 0x30, CONTEXTS);
    bench.write(OPERATION + 0x18, COMMANDS | 1);
    bench.write(OPERATION + 0x1c, 0);
    bench.write(OPERATION + 0x38, 16);
    let ram = bench.memory.ram();
    ram.write_obj([EVENTS as u32, 0, 256, 0], GuestAddress(SEGMENTS))
        .unwrap();
    bench.write(INTERRUPTER + 8, 1);
    bench.write(INTERRUPTER + 0x18, EVENTS);
    bench.write(INTERRUPTER + 0x10, SEGMENTS);
    bench.write(INTERRUPTER, 2);
    bench.write(OPERATION, 5);
    // Each of three ports has somebody on it.
    for port in 1..=3 {
        assert_eq!(bench.event().0, port << 24);
    }
    bench
}

impl Bench {
    fn read(&mut self, at: u64) -> u64 {
        self.xhci.bar_read(0, at, 4)
    }

    fn write(&mut self, at: u64, value: u64) {
        self.xhci.bar_write(0, at, 4, value);
    }

    /// The next event: its parameter, how it ended, what is left, and its last word without the cycle.
    fn event(&mut self) -> (u64, u32, u32, u32) {
        let at = EVENTS + self.taken % 256 * 16;
        let ram = self.memory.ram();
        let words: [u32; 4] = ram.read_obj(GuestAddress(at)).unwrap();
        let fresh = u32::from((self.taken / 256).is_multiple_of(2));
        assert_eq!(words[3] & 1, fresh, "there is no event");
        self.taken += 1;
        self.write(INTERRUPTER + 0x18, (EVENTS + self.taken % 256 * 16) | 8);
        let parameter = u64::from(words[1]) << 32 | u64::from(words[0]);
        (
            parameter,
            words[2] >> 24,
            words[2] & 0xff_ffff,
            words[3] & !1,
        )
    }

    fn is_silent(&self) -> bool {
        let at = EVENTS + self.taken % 256 * 16;
        let control: u32 = self.memory.ram().read_obj(GuestAddress(at + 12)).unwrap();
        control & 1 != u32::from((self.taken / 256).is_multiple_of(2))
    }

    /// Puts a request into a ring, without its cycle.
    fn put(&mut self, ring: usize, base: u64, parameter: u64, status: u32, control: u32) -> u64 {
        let at = base + self.put[ring] * 16;
        self.put[ring] += 1;
        let words = [
            parameter as u32,
            (parameter >> 32) as u32,
            status,
            control | 1,
        ];
        self.memory
            .ram()
            .write_obj(words, GuestAddress(at))
            .unwrap();
        at
    }

    /// A command; how it ended, and of which slot.
    fn command(&mut self, kind: u32, parameter: u64, rest: u32) -> (u32, u8) {
        let at = self.put(0, COMMANDS, parameter, 0, kind << 10 | rest);
        self.write(DOORBELLS, 0);
        let (pointer, code, _, control) = self.event();
        assert_eq!((pointer, control >> 10 & 0x3f), (at, 33));
        (code, (control >> 24) as u8)
    }

    fn ring_of(slot: u8, endpoint: u8) -> (usize, u64) {
        let index = usize::from(slot) * 32 + usize::from(endpoint);
        (index, RINGS + index as u64 * 0x100)
    }

    /// Resets a port, and addresses the device on it.
    fn address(&mut self, port: u32) -> u8 {
        let register = 0x440 + u64::from(port - 1) * 16;
        self.write(register, 1 << 9 | 1 << 4);
        assert_eq!(self.event().0, u64::from(port) << 24);
        assert_eq!(self.read(register) & 0x3fff, 0xe03);
        let (code, slot) = self.command(9, 0, 0);
        assert_eq!(code, 1);
        let ram = self.memory.ram();
        let context = DEVICES + u64::from(slot) * 0x800;
        ram.write_obj(context, GuestAddress(CONTEXTS + u64::from(slot) * 8))
            .unwrap();
        let (_, ring) = Bench::ring_of(slot, 1);
        ram.write_obj([0u32, 3], GuestAddress(INPUT)).unwrap();
        ram.write_obj([1u32 << 27 | 3 << 20, port << 16], GuestAddress(INPUT + 32))
            .unwrap();
        ram.write_obj(
            [0u32, 64 << 16 | 4 << 3, ring as u32 | 1, 0],
            GuestAddress(INPUT + 64),
        )
        .unwrap();
        assert_eq!(self.command(11, INPUT, u32::from(slot) << 24), (1, slot));
        let state: u32 = self
            .memory
            .ram()
            .read_obj(GuestAddress(context + 12))
            .unwrap();
        assert_eq!(state, 2 << 27 | u32::from(slot));
        slot
    }

    /// Adds endpoints, each with its number and kind.
    fn configure(&mut self, slot: u8, endpoints: &[(u8, u32)]) {
        let mut added = 1u32;
        let ram = self.memory.ram();
        for &(endpoint, kind) in endpoints {
            added |= 1 << endpoint;
            let (_, ring) = Bench::ring_of(slot, endpoint);
            ram.write_obj(
                [0u32, 512 << 16 | kind << 3, ring as u32 | 1, 0],
                GuestAddress(INPUT + 32 + u64::from(endpoint) * 32),
            )
            .unwrap();
        }
        ram.write_obj([0u32, added], GuestAddress(INPUT)).unwrap();
        assert_eq!(self.command(12, INPUT, u32::from(slot) << 24), (1, slot));
    }

    /// A request to the default endpoint, with its data at [`DATA`]: how it ended, and what was left.
    fn control(&mut self, slot: u8, setup: [u8; 8]) -> (u32, u32) {
        let (ring, base) = Bench::ring_of(slot, 1);
        let len = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
        let inward = u32::from(setup[0] >> 7);
        self.put(ring, base, u64::from_le_bytes(setup), 8, 2 << 10 | 1 << 6);
        if len > 0 {
            // It tells when less comes.
            let data = 3 << 10 | inward << 16 | 1 << 2;
            self.put(ring, base, DATA, len, data);
        }
        self.put(ring, base, 0, 0, 4 << 10 | 1 << 5);
        self.write(DOORBELLS + u64::from(slot) * 4, 1);
        let (_, mut code, left, _) = self.event();
        if code == 13 {
            code = self.event().1;
        }
        (code, left)
    }

    /// A transfer of an endpoint, of bytes at [`DATA`] on.
    fn transfer(&mut self, slot: u8, endpoint: u8, len: u32) {
        let (ring, base) = Bench::ring_of(slot, endpoint);
        self.put(ring, base, DATA, len, 1 << 10 | 1 << 5 | 1 << 2);
        self.write(DOORBELLS + u64::from(slot) * 4, endpoint.into());
    }

    fn data<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory
            .ram()
            .read_slice(&mut bytes, GuestAddress(DATA))
            .unwrap();
        bytes
    }

    fn lay(&self, bytes: &[u8]) {
        self.memory
            .ram()
            .write_slice(bytes, GuestAddress(DATA))
            .unwrap();
    }

    /// A block of the mass storage's.
    fn block(&self, len: u32, inward: bool, command: &[u8]) {
        let mut block = [0; 31];
        block[..4].copy_from_slice(b"USBC");
        block[4..8].copy_from_slice(&77u32.to_le_bytes());
        block[8..12].copy_from_slice(&len.to_le_bytes());
        block[12] = u8::from(inward) << 7;
        block[14] = command.len() as u8;
        block[15..15 + command.len()].copy_from_slice(command);
        self.lay(&block);
    }
}

const GET_DEVICE: [u8; 8] = [0x80, 6, 0, 1, 0, 0, 18, 0];
const SET_CONFIGURATION: [u8; 8] = [0, 9, 1, 0, 0, 0, 0, 0];
const BULK_IN: u8 = 3;
const BULK_OUT: u8 = 4;

fn stick() -> (Bench, u8) {
    let mut bench = bench();
    let slot = bench.address(1);
    assert_eq!(bench.control(slot, SET_CONFIGURATION), (1, 0));
    bench.configure(slot, &[(BULK_IN, 6), (BULK_OUT, 2)]);
    (bench, slot)
}

#[test]
fn devices_say_what_they_are() {
    let mut bench = bench();
    for (port, product) in [(1, 3), (2, 1), (3, 2)] {
        let slot = bench.address(port);
        assert_eq!(bench.control(slot, GET_DEVICE), (1, 0));
        let device: [u8; 18] = bench.data();
        assert_eq!((device[0], device[1], device[10]), (18, 1, product));
        // There is less of it than is asked for, which is told.
        let mut all = GET_DEVICE;
        (all[3], all[7]) = (2, 1);
        let (code, left) = bench.control(slot, all);
        assert_eq!(code, 1);
        assert!(left > 0 && left < 256);
        // What there is none of halts the endpoint, until that is reset.
        all[3] = 9;
        assert_eq!(bench.control(slot, all).0, 6);
        assert_eq!(bench.command(14, 0, u32::from(slot) << 24 | 1 << 16).0, 1);
        let (ring, base) = Bench::ring_of(slot, 1);
        let next = base + bench.put[ring] * 16;
        let of = u32::from(slot) << 24 | 1 << 16;
        assert_eq!(bench.command(16, next | 1, of).0, 1);
        assert_eq!(bench.control(slot, GET_DEVICE), (1, 0));
    }
}

#[test]
fn a_disk_is_read_and_written() {
    let (mut bench, slot) = stick();
    bench.block(1024, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0]);
    bench.transfer(slot, BULK_OUT, 31);
    assert_eq!(bench.event().1, 1);
    bench.transfer(slot, BULK_IN, 1024);
    assert_eq!(bench.event().1, 1);
    assert_eq!(bench.data::<7>(), *b"a stick");
    bench.transfer(slot, BULK_IN, 13);
    assert_eq!(bench.event().1, 1);
    assert_eq!(bench.data::<13>(), *b"USBS\x4d\0\0\0\0\0\0\0\0");
    bench.block(512, false, &[0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0]);
    bench.transfer(slot, BULK_OUT, 31);
    bench.lay(b"written");
    bench.transfer(slot, BULK_OUT, 512);
    bench.transfer(slot, BULK_IN, 13);
    for _ in 0..3 {
        assert_eq!(bench.event().1, 1);
    }
    assert_eq!(bench.disk.bytes()[9 * 512..][..7], *b"written");
    assert_eq!(bench.data::<13>()[8..], [0; 5]);
}

#[test]
fn what_a_disk_refuses_is_in_its_account() {
    let (mut bench, slot) = stick();
    bench.block(512, true, &[0x28, 0, 0xff, 0, 0, 0, 0, 0, 1, 0]);
    bench.transfer(slot, BULK_OUT, 31);
    assert_eq!(bench.event().1, 1);
    bench.transfer(slot, BULK_IN, 512);
    // Nothing came.
    let (_, code, left, _) = bench.event();
    assert_eq!((code, left), (13, 512));
    bench.transfer(slot, BULK_IN, 13);
    assert_eq!(bench.event().1, 1);
    assert_eq!(bench.data::<13>()[8..], [0, 2, 0, 0, 1]);
    bench.block(18, true, &[0x03, 0, 0, 0, 18, 0]);
    bench.transfer(slot, BULK_OUT, 31);
    bench.transfer(slot, BULK_IN, 18);
    assert_eq!((bench.event().1, bench.event().1), (1, 1));
    let sense: [u8; 14] = bench.data();
    assert_eq!((sense[2], sense[12]), (5, 0x21));
}

#[test]
fn a_tablet_tells_where_the_hand_is_once_it_is_asked() {
    let mut bench = bench();
    let handle = bench.xhci.handle();
    let hand = TabletEvent {
        x: 0x1234,
        y: 0x7fff,
        wheel: 1,
        buttons: 1,
    };
    assert!(!handle.point(hand));
    let slot = bench.address(2);
    assert_eq!(bench.control(slot, SET_CONFIGURATION), (1, 0));
    bench.configure(slot, &[(3, 7)]);
    bench.transfer(slot, 3, 8);
    assert!(bench.is_silent());
    assert!(handle.point(hand));
    // It rings, and the controller looks.
    assert!(bench.timer.deadline().is_some());
    bench.xhci.expire();
    let (_, code, left, control) = bench.event();
    assert_eq!((code, left), (13, 2));
    assert_eq!(control, u32::from(slot) << 24 | 3 << 16 | 32 << 10);
    assert_eq!(bench.data::<6>(), [1, 0x34, 0x12, 0xff, 0x7f, 0xff]);
}

#[test]
fn keys_go_down_and_up_as_a_keyboard_has_them() {
    let mut bench = bench();
    let handle = bench.xhci.handle();
    assert_eq!(handle.key(&[0x1c]), None);
    let slot = bench.address(3);
    assert_eq!(bench.control(slot, SET_CONFIGURATION), (1, 0));
    bench.configure(slot, &[(3, 7)]);
    let keys: [(&[u8], [u8; 8]); 4] = [
        (&[0x12], [2, 0, 0, 0, 0, 0, 0, 0]),
        (&[0x1c], [2, 0, 4, 0, 0, 0, 0, 0]),
        (&[0xf0, 0x12], [0, 0, 4, 0, 0, 0, 0, 0]),
        (&[0xe0, 0x75], [0, 0, 4, 0x52, 0, 0, 0, 0]),
    ];
    for (codes, report) in keys {
        assert_eq!(handle.key(codes), Some(true));
        bench.transfer(slot, 3, 8);
        assert_eq!(bench.event().1, 1);
        assert_eq!(bench.data::<8>(), report);
    }
    // Nobody asks, and what is too much is lost.
    let taken = (0..200).filter(|_| handle.key(&[0x1c]) == Some(true));
    assert_eq!(taken.count(), 64);
}

#[test]
fn a_message_or_a_line_says_that_there_are_events() {
    let mut bench = bench();
    // Of ports, which it was told of.
    assert!(bench.line.high());
    bench.write(INTERRUPTER, 3);
    assert!(!bench.line.high());
    bench.put(0, COMMANDS, 0, 0, 23 << 10);
    bench.write(DOORBELLS, 0);
    assert!(bench.line.high());
    bench.event();
    bench.write(INTERRUPTER, 3);
    assert!(!bench.line.high());
    let control = u32::from(bench.xhci.config.byte(0x34)) + 2;
    bench.xhci.bar_write(0, 0x3000, 8, 0xfee0_0000);
    bench.xhci.bar_write(0, 0x3008, 8, 0x4041);
    bench.xhci.config_write(control as u16, 2, 0x8000);
    for _ in 0..2 {
        bench.put(0, COMMANDS, 0, 0, 23 << 10);
    }
    bench.write(DOORBELLS, 0);
    // One for both, since the handler is not there before it says so.
    assert_eq!(bench.msi.take(), [(0xfee0_0000, 0x4041)]);
    bench.event();
    assert_eq!(bench.msi.take(), [(0xfee0_0000, 0x4041)]);
    bench.event();
    assert_eq!(bench.msi.take(), []);
}

#[test]
fn what_waits_goes_on_after_a_restore() {
    let (mut bench, slot) = stick();
    bench.gate.set(RateLimit {
        bytes: NonZeroU64::new(1),
        operations: None,
    });
    bench.block(1024, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0]);
    bench.transfer(slot, BULK_OUT, 31);
    bench.transfer(slot, BULK_IN, 512);
    assert_eq!((bench.event().1, bench.event().1), (1, 1));
    bench.transfer(slot, BULK_IN, 512);
    assert!(bench.is_silent());
    let saved = bench.xhci.save();
    let (mut other, _) = stick();
    let mut memory = vec![0; 0x10_0000];
    bench
        .memory
        .ram()
        .read_slice(&mut memory, GuestAddress(0))
        .unwrap();
    other
        .memory
        .ram()
        .write_slice(&memory, GuestAddress(0))
        .unwrap();
    other.xhci.restore(&saved).unwrap();
    other.taken = bench.taken;
    assert!(other.is_silent());
    other.xhci.resume();
    assert_eq!(other.event().1, 1);
    assert_eq!(other.xhci.save().kind, "xhci");
}

/// Asks for so many sectors of the stick, each by a request of its own, which nobody has rung for.
fn ask_for_sectors(bench: &mut Bench, slot: u8, sectors: u8) {
    let len = u32::from(sectors) * 512;
    bench.block(len, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, sectors, 0]);
    bench.transfer(slot, BULK_OUT, 31);
    assert_eq!(bench.event().1, 1);
    let (ring, base) = Bench::ring_of(slot, BULK_IN);
    for _ in 0..sectors {
        bench.put(ring, base, DATA, 512, 1 << 10 | 1 << 5);
    }
}

/// Events that have come, and are taken.
fn events(bench: &mut Bench) -> usize {
    let mut count = 0;
    while !bench.is_silent() {
        assert_eq!(bench.event().1, 1);
        count += 1;
    }
    count
}

#[test]
fn what_takes_long_goes_on_by_the_alarm() {
    let (mut bench, slot) = stick();
    ask_for_sectors(&mut bench, slot, 8);
    bench.disk.takes.store(9, Ordering::Relaxed);
    bench.write(DOORBELLS + u64::from(slot) * 4, BULK_IN.into());
    let mut came = vec![];
    for _ in 0..8 {
        assert!(bench.timer.deadline().is_some());
        let ram = bench.memory.ram();
        let done = (0..8).filter(|index| {
            let at = EVENTS + (bench.taken + index) % 256 * 16 + 12;
            ram.read_obj::<u32>(GuestAddress(at)).unwrap() & 1 != 0
        });
        came.push(done.count());
        bench.xhci.expire();
    }
    assert!((1..=3).contains(&came[0]), "{came:?}");
    assert_eq!(came[7], 8, "{came:?}");
    assert_eq!(events(&mut bench), 8);
}

#[test]
fn endpoints_have_their_turns_where_one_has_always_more_to_do() {
    let (mut bench, slot) = stick();
    let keyboard = bench.address(3);
    assert_eq!(bench.control(keyboard, SET_CONFIGURATION), (1, 0));
    bench.configure(keyboard, &[(3, 7)]);
    let report = DATA + 0x1000;
    let (ring, base) = Bench::ring_of(keyboard, 3);
    bench.put(ring, base, report, 8, 1 << 10 | 1 << 5);
    ask_for_sectors(&mut bench, slot, 8);
    bench.disk.takes.store(25, Ordering::Relaxed);
    bench.write(DOORBELLS + u64::from(slot) * 4, BULK_IN.into());
    assert_eq!(bench.xhci.handle().key(&[0x1c]), Some(true));
    for _ in 0..2 {
        bench.xhci.expire();
    }
    assert!(bench.disk.patient_reads.load(Ordering::Relaxed) < 8);
    let ram = bench.memory.ram();
    let came: [u8; 8] = ram.read_obj(GuestAddress(report)).unwrap();
    assert_eq!(came, [0, 0, 4, 0, 0, 0, 0, 0]);
}

#[test]
fn a_device_is_no_more_than_one_slots() {
    let mut bench = bench();
    let first = bench.address(3);
    let (code, second) = bench.command(9, 0, 0);
    assert_eq!(code, 1);
    let entry = CONTEXTS + u64::from(second) * 8;
    let context = DEVICES + u64::from(second) * 0x800;
    let ram = bench.memory.ram();
    ram.write_obj(context, GuestAddress(entry)).unwrap();
    let of = |slot: u8| u32::from(slot) << 24;
    // Also where it is to have no address yet.
    for rest in [0, 1 << 9] {
        let refused = bench.command(11, INPUT, of(second) | rest);
        assert_eq!(refused, (5, second));
    }
    assert_eq!(bench.control(first, GET_DEVICE), (1, 0));
    assert_eq!(bench.command(10, 0, of(first)), (1, first));
    assert_eq!(bench.command(11, INPUT, of(second)), (1, second));
}

#[test]
fn devices_hear_nothing_of_requests_that_do_nothing() {
    let (mut bench, slot) = stick();
    let keyboard = bench.address(3);
    assert_eq!(bench.control(keyboard, SET_CONFIGURATION), (1, 0));
    bench.configure(keyboard, &[(3, 7)]);
    assert_eq!(bench.xhci.handle().key(&[0x1c]), Some(true));
    // Nothing, with an event and without; and data of the driver's for an event.
    for (slot, endpoint) in [(keyboard, 3), (keyboard, 1), (slot, BULK_OUT)] {
        let (ring, base) = Bench::ring_of(slot, endpoint);
        bench.put(ring, base, 0, 0, 8 << 10);
        bench.put(ring, base, 0, 0, 8 << 10 | 1 << 5);
        bench.put(ring, base, 0xabcd_0000_1234, 0, 7 << 10 | 1 << 5);
        bench.write(DOORBELLS + u64::from(slot) * 4, endpoint.into());
        assert_eq!(bench.event().1, 1);
        let (data, code, _, _) = bench.event();
        assert_eq!((data, code), (0xabcd_0000_1234, 1));
        assert!(bench.is_silent());
    }
    // In a transfer they have no buffer, wherever they say that it is.
    let (ring, base) = Bench::ring_of(keyboard, 3);
    bench.put(ring, base, u64::MAX, 0, 8 << 10 | 1 << 4);
    bench.put(ring, base, DATA, 8, 1 << 10 | 1 << 5 | 1 << 4);
    bench.put(ring, base, u64::MAX, 0, 7 << 10);
    bench.write(DOORBELLS + u64::from(keyboard) * 4, 3);
    assert_eq!(bench.event().1, 1);
    assert_eq!(bench.data::<8>(), [0, 0, 4, 0, 0, 0, 0, 0]);
    bench.block(0, true, &[0; 6]);
    bench.transfer(slot, BULK_OUT, 31);
    assert_eq!(bench.event().1, 1);
}

#[test]
fn requests_that_an_endpoint_does_not_know_stop_it() {
    let strange = [(BULK_OUT, 5u32), (BULK_OUT, 2), (1, 1), (1, 5)];
    for (endpoint, kind) in strange {
        let (mut bench, slot) = stick();
        bench.block(0, true, &[0; 6]);
        let (ring, base) = Bench::ring_of(slot, endpoint);
        let at = bench.put(ring, base, DATA, 31, kind << 10);
        bench.write(DOORBELLS + u64::from(slot) * 4, endpoint.into());
        let (pointer, code, _, _) = bench.event();
        assert_eq!((pointer, code), (at, 5), "{kind} at {endpoint}");
        // Nothing more, before the driver has seen to it.
        bench.transfer(slot, endpoint, 31);
        assert!(bench.is_silent());
    }
}

#[test]
fn a_flush_is_an_operation() {
    let (mut bench, slot) = stick();
    let one = RateLimit {
        bytes: None,
        operations: NonZeroU64::new(1),
    };
    bench.gate.set(one);
    for _ in 0..2 {
        bench.block(0, true, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bench.transfer(slot, BULK_OUT, 31);
        bench.transfer(slot, BULK_IN, 13);
    }
    // The account of the first has room for its block, which is the second's too.
    assert_eq!(events(&mut bench), 2);
    assert_eq!(bench.disk.flushes.load(Ordering::Relaxed), 1);
    bench.block(0, true, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bench.gate.set(one);
    bench.xhci.expire();
    assert_eq!(events(&mut bench), 2);
    assert_eq!(bench.disk.flushes.load(Ordering::Relaxed), 2);
}

#[test]
fn a_keyboard_that_nobody_can_ask_leaves_keys_to_others() {
    let mut bench = bench();
    let slot = bench.address(3);
    assert_eq!(bench.control(slot, SET_CONFIGURATION), (1, 0));
    let handle = bench.xhci.handle();
    // It is set up, and its endpoint is not.
    assert_eq!(handle.key(&[0x1c]), None);
    bench.configure(slot, &[(3, 7)]);
    assert_eq!(handle.key(&[0x1c]), Some(true));
    bench.write(OPERATION, 4);
    assert_eq!(handle.key(&[0x1b]), None);
    // What was down goes up all the same, and is found so.
    assert!(handle.let_go(&[0xf0, 0x1c]));
    let saved = bench.xhci.save();
    bench.write(OPERATION, 5);
    assert_eq!(handle.key(&[0x1b]), Some(true));
    let reports = [
        [0, 0, 4, 0, 0, 0, 0, 0],
        [0; 8],
        [0, 0, 0x16, 0, 0, 0, 0, 0],
    ];
    for report in reports {
        bench.transfer(slot, 3, 8);
        while bench.event().3 >> 10 & 0x3f != 32 {}
        assert_eq!(bench.data::<8>(), report);
    }
    let running = bench.xhci.save();
    for (state, taken) in [(&saved, None), (&running, Some(true))] {
        let mut other = self::bench();
        other.xhci.restore(state).unwrap();
        assert_eq!(other.xhci.handle().key(&[0x1b]), taken);
    }
    // Nobody may be asked by a controller that may not reach memory, or once the slot has gone.
    bench.xhci.config_write(0x04, 2, 2);
    assert_eq!(handle.key(&[0x1b]), None);
    bench.xhci.config_write(0x04, 2, 6);
    assert_eq!(handle.key(&[0x1b]), Some(true));
    assert_eq!(bench.command(10, 0, u32::from(slot) << 24).0, 1);
    assert_eq!(handle.key(&[0x1b]), None);
    // Of one that was reset nothing is down.
    bench.write(OPERATION, 2);
    assert!(handle.let_go(&[0xf0, 0x1b]));
}
