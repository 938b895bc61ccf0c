#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

mod saved;
mod schedule;

use std::num::NonZeroU64;
use std::sync::Arc;

use block::BlockDevice;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{FRAME, Uhci, UhciParts};
use crate::pci::PciFunction;
use crate::testing::{FakeClock, FakeLine, FakeTimer};
use crate::usb::HidHandle;
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::{RateGate, RateLimit, TabletEvent};
use crate::{Clock, Pace, Timer};

const LIST: u64 = 0x1000;
const QUEUE: u64 = 0x2000;
const OTHER_QUEUE: u64 = 0x2010;
const TRANSFERS: u64 = 0x3000;
const SETUPS: u64 = 0x7000;
const DATA: u64 = 0x8000;
const RAM: u64 = 0x10_0000;

const COMMAND: u64 = 0;
const STATUS: u64 = 2;
const INTERRUPTS: u64 = 4;
const NUMBER: u64 = 6;
const BASE: u64 = 8;
const PORT: u64 = 0x10;

const IN: u32 = 0x69;
const OUT: u32 = 0xe1;
const SETUP: u32 = 0x2d;
const END: u32 = 1;
const TO_QUEUE: u32 = 2;
const DEPTH: u32 = 4;
const ACTIVE: u32 = 1 << 23;
const INTERRUPT: u32 = 1 << 24;
const SLOW: u32 = 1 << 26;
const THREE_ERRORS: u32 = 3 << 27;
const SHORT_STOPS: u32 = 1 << 29;
const NOTHING: u32 = 0x7ff;

const GET_DEVICE: [u8; 8] = [0x80, 6, 0, 1, 0, 0, 18, 0];
const SET_CONFIGURATION: [u8; 8] = [0, 9, 1, 0, 0, 0, 0, 0];

/// What a packet is for.
#[derive(Debug, Clone, Copy)]
struct To {
    address: u32,
    endpoint: u32,
    /// Its device is slow, and how large a packet of the default pipe's may be.
    slow: bool,
    largest: usize,
}

const STICK: To = To {
    address: 0,
    endpoint: 0,
    slow: false,
    largest: 64,
};
const KEYBOARD: To = To {
    slow: true,
    largest: 8,
    ..STICK
};

struct Bench {
    uhci: Uhci,
    handle: Option<HidHandle>,
    memory: GuestMemory,
    disk: Arc<MemoryDisk>,
    line: Arc<FakeLine>,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    gate: RateGate,
}

fn parts(line: &Arc<FakeLine>) -> (UhciParts, Arc<FakeClock>, Arc<FakeTimer>, RateGate) {
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let (clock, timer, gate) = (FakeClock::new(), FakeTimer::new(), RateGate::default());
    let pace = Pace::new(
        gate.clone(),
        Arc::clone(&clock) as _,
        Arc::clone(&timer) as _,
    );
    let parts = UhciParts {
        memory: GuestMemory::new(&[ram]).unwrap(),
        line: Arc::clone(line) as _,
        pin: 4,
        clock: Arc::clone(&clock) as _,
        pace,
    };
    (parts, clock, timer, gate)
}

impl Bench {
    /// A controller that runs, with an empty queue in each frame.
    fn new(hands: bool) -> Bench {
        let line = FakeLine::new();
        let (parts, clock, timer, gate) = parts(&line);
        let memory = parts.memory.clone();
        let disk = Arc::new(MemoryDisk::new(0x10_0000));
        disk.write_at(b"a stick", 3 * 512).unwrap();
        let (uhci, handle) = if hands {
            let (uhci, handle) = Uhci::with_hands(parts);
            (uhci, Some(handle))
        } else {
            let disks = vec![(Arc::clone(&disk) as _, "abc".to_owned())];
            (Uhci::with_disks(disks, parts), None)
        };
        let mut bench = Bench {
            uhci,
            handle,
            memory,
            disk,
            line,
            clock,
            timer,
            gate,
        };
        bench.uhci.config_write(0x04, 2, 5);
        for frame in 0..1024 {
            bench.put(LIST + 4 * frame, &[QUEUE as u32 | TO_QUEUE]);
        }
        bench.put(QUEUE, &[END, END]);
        bench.write(BASE, 4, LIST);
        bench.write(INTERRUPTS, 2, 0xf);
        bench.write(COMMAND, 2, 0xc1);
        bench
    }

    fn stick() -> Bench {
        let mut bench = Bench::new(false);
        bench.enable(0);
        bench.control(STICK, SET_CONFIGURATION, &[]).unwrap();
        bench
    }

    fn read(&mut self, at: u64) -> u64 {
        self.uhci.bar_read(4, at, 2)
    }

    fn write(&mut self, at: u64, size: u8, value: u64) {
        self.uhci.bar_write(4, at, size, value);
    }

    fn put(&self, at: u64, words: &[u32]) {
        for (index, word) in (0..).zip(words) {
            let at = GuestAddress(at + 4 * index);
            self.memory.ram().write_obj(*word, at).unwrap();
        }
    }

    fn word(&self, at: u64) -> u32 {
        self.memory.ram().read_obj(GuestAddress(at)).unwrap()
    }

    fn data<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let at = GuestAddress(DATA);
        self.memory.ram().read_slice(&mut bytes, at).unwrap();
        bytes
    }

    fn lay(&self, at: u64, bytes: &[u8]) {
        let at = GuestAddress(at);
        self.memory.ram().write_slice(bytes, at).unwrap();
    }

    /// A port's device is reset, and its packets pass.
    fn enable(&mut self, port: u64) {
        let at = PORT + 2 * port;
        assert_eq!(self.read(at) & 3, 3);
        self.write(at, 2, 0x200);
        assert_eq!(self.read(at) & 0x204, 0x200);
        self.write(at, 2, 0);
        self.write(at, 2, 6);
        assert_eq!(self.read(at) & 0x207, 5);
    }

    /// Time passes, and the alarm comes.
    fn frames(&mut self, count: u64) {
        self.clock.advance(count * FRAME);
        self.uhci.expire();
    }

    /// A transfer of so many bytes, without a link.
    fn transfer(&self, number: u64, to: To, kind: u32, len: usize, buffer: u64) -> u64 {
        let at = TRANSFERS + 0x20 * number;
        let control = ACTIVE | THREE_ERRORS | if to.slow { SLOW } else { 0 };
        let size = (len as u32).wrapping_sub(1) & NOTHING;
        let token = size << 21 | to.endpoint << 15 | to.address << 8 | kind;
        self.put(at, &[END, control, token, buffer as u32]);
        at
    }

    /// Puts transfers into the queue, one behind the other.
    fn enqueue(&self, queue: u64, transfers: &[u64], flags: u32) {
        for pair in transfers.windows(2) {
            self.put(pair[0], &[pair[1] as u32 | flags]);
        }
        self.put(queue + 4, &[transfers[0] as u32]);
    }

    fn control_word(&self, transfer: u64) -> u32 {
        self.word(transfer + 4)
    }

    /// How a transfer ended, and how many bytes it moved.
    fn ended(&self, transfer: u64) -> (u32, u32) {
        let control = self.control_word(transfer);
        (control >> 16 & 0xff, (control + 1) & NOTHING)
    }

    /// A request: its answer, or how it failed.
    fn control(&mut self, to: To, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, u32> {
        self.lay(SETUPS, &setup);
        self.lay(DATA, data);
        let len = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        let inward = setup[0] & 0x80 != 0;
        let mut all = vec![self.transfer(0, to, SETUP, 8, SETUPS)];
        let mut done = 0;
        while done < len {
            let count = to.largest.min(len - done);
            let kind = if inward { IN } else { OUT };
            let (number, buffer) = (all.len() as u64, DATA + done as u64);
            let at = self.transfer(number, to, kind, count, buffer);
            if inward {
                self.put(at + 4, &[self.control_word(at) | SHORT_STOPS]);
            }
            all.push(at);
            done += count;
        }
        let kind = if inward { OUT } else { IN };
        let status = self.transfer(all.len() as u64, to, kind, 0, 0);
        all.push(status);
        self.enqueue(QUEUE, &all, DEPTH);
        self.frames(2);
        let mut moved = 0;
        for &at in &all[1..all.len() - 1] {
            let (code, count) = self.ended(at);
            if code & 0x40 != 0 {
                return Err(code);
            }
            if code & 0x80 != 0 {
                break;
            }
            moved += count as usize;
        }
        if moved < len && inward {
            // The driver goes on behind the short packet, as it must.
            self.enqueue(QUEUE, &[status], DEPTH);
            self.frames(1);
        }
        let (code, _) = self.ended(status);
        if code != 0 {
            return Err(code);
        }
        let mut answer = vec![0; if inward { moved } else { 0 }];
        let at = GuestAddress(DATA);
        self.memory.ram().read_slice(&mut answer, at).unwrap();
        Ok(answer)
    }

    /// Moves packets of 64 bytes from or to [`DATA`], and says how each ended.
    fn bulk(&mut self, kind: u32, endpoint: u32, len: usize) -> Vec<(u32, u32)> {
        let to = To { endpoint, ..STICK };
        let mut all = Vec::new();
        for (number, at) in (0..).zip((0..len).step_by(64)) {
            let count = 64.min(len - at);
            all.push(self.transfer(number, to, kind, count, DATA + at as u64));
        }
        self.enqueue(QUEUE, &all, DEPTH);
        self.frames(1);
        all.into_iter().map(|at| self.ended(at)).collect()
    }

    /// A block of the mass storage's.
    fn block(&mut self, len: u32, inward: bool, command: &[u8]) {
        let mut block = [0; 31];
        block[..4].copy_from_slice(b"USBC");
        block[4..8].copy_from_slice(&77u32.to_le_bytes());
        block[8..12].copy_from_slice(&len.to_le_bytes());
        block[12] = u8::from(inward) << 7;
        block[14] = command.len() as u8;
        block[15..15 + command.len()].copy_from_slice(command);
        self.lay(DATA, &block);
        assert_eq!(self.bulk(OUT, 2, 31), [(0, 31)]);
    }
}

#[test]
fn registers_are_as_a_driver_finds_them() {
    let line = FakeLine::new();
    let (parts, ..) = parts(&line);
    let (mut uhci, _) = Uhci::with_hands(parts);
    assert_eq!(uhci.config_read(0x00, 4), 0x7020_8086);
    assert_eq!(uhci.config_read(0x08, 4) >> 8, 0x0c_03_00);
    assert_eq!(uhci.config_read(0x3c, 2) >> 8, 4);
    assert_eq!(uhci.config_read(0x60, 1), 0x10);
    assert_eq!(uhci.config_read(0xc0, 2), 0x2000);
    // It stands still; a frame has its usual length; one wire or the other is high, and slow devices say so.
    assert_eq!(uhci.bar_read(4, STATUS, 2), 0x20);
    assert_eq!(uhci.bar_read(4, 0x0c, 1), 0x40);
    assert_eq!(uhci.bar_read(4, PORT, 2), 0x93);
    assert_eq!(uhci.bar_read(4, PORT + 2, 2), 0x1a3);
    // Nobody takes what is behind them for a port.
    assert_eq!(uhci.bar_read(4, PORT + 4, 2) & 0x80, 0);
    // The list begins at a page.
    uhci.bar_write(4, BASE, 4, 0x1234_5678);
    assert_eq!(uhci.bar_read(4, BASE, 4), 0x1234_5000);
    // One byte leaves the other as it is.
    uhci.bar_write(4, INTERRUPTS, 2, 0xf);
    uhci.bar_write(4, INTERRUPTS + 1, 1, 0xff);
    assert_eq!(uhci.bar_read(4, INTERRUPTS, 2), 0xf);
    uhci.bar_write(4, PORT + 1, 1, 0x02);
    assert_eq!(uhci.bar_read(4, PORT, 2), 0x293);
}

#[test]
fn frames_are_counted_by_the_clock() {
    let mut bench = Bench::new(false);
    assert_eq!(bench.read(STATUS), 0);
    assert_eq!(bench.read(NUMBER), 0);
    bench.frames(5);
    assert_eq!(bench.read(NUMBER), 5);
    // Nobody need look for that.
    bench.clock.advance(2045 * FRAME + 10);
    assert_eq!(bench.read(NUMBER), 2);
    // It cannot be written while it counts, and stands where it was.
    bench.write(NUMBER, 2, 77);
    bench.write(COMMAND, 2, 0xc0);
    bench.clock.advance(9 * FRAME);
    assert_eq!(bench.read(NUMBER), 2);
    assert_eq!(bench.read(STATUS), 0x20);
    bench.write(NUMBER, 2, 0x7fe);
    bench.write(COMMAND, 2, 0xc1);
    assert_eq!(bench.read(NUMBER), 0x7fe);
    bench.frames(3);
    assert_eq!(bench.read(NUMBER), 1);
}

#[test]
fn devices_say_what_they_are() {
    for (hands, port, product, to) in [
        (false, 0, 3, STICK),
        (true, 0, 1, STICK),
        (true, 1, 2, KEYBOARD),
    ] {
        let mut bench = Bench::new(hands);
        bench.enable(port);
        let device = bench.control(to, GET_DEVICE, &[]).unwrap();
        assert_eq!(device[..4], [18, 1, 0x10, 1]);
        assert_eq!((usize::from(device[7]), device[10]), (to.largest, product));
        // There is less of it than is asked for.
        let mut all = GET_DEVICE;
        (all[3], all[7]) = (2, 1);
        let configuration = bench.control(to, all, &[]).unwrap();
        assert_eq!(configuration.len(), usize::from(configuration[2]));
        // Not even an endpoint's packets are larger, and a slow device is not asked often.
        let endpoint = &configuration[configuration.len() - 7..];
        assert!(usize::from(endpoint[4]) <= to.largest && endpoint[5] == 0);
        assert!(!to.slow || endpoint[6] >= 10);
        // Devices that know one speed have no answer to what they are at the other.
        all[3] = 6;
        assert_eq!(bench.control(to, all, &[]), Err(0x40));
        assert_eq!(bench.control(to, GET_DEVICE, &[]).unwrap(), device);
    }
}

#[test]
fn a_device_is_where_its_driver_has_put_it() {
    let mut bench = Bench::new(false);
    bench.enable(0);
    let at = |address| To { address, ..STICK };
    bench.control(at(0), [0, 5, 9, 0, 0, 0, 0, 0], &[]).unwrap();
    assert!(bench.control(at(9), GET_DEVICE, &[]).is_ok());
    // Nobody is there any more, or says anything by slow packets.
    for to in [
        at(0),
        To {
            slow: true,
            ..at(9)
        },
    ] {
        let at = bench.transfer(0, to, SETUP, 8, SETUPS);
        bench.enqueue(QUEUE, &[at], 0);
        bench.write(STATUS, 2, 0x1f);
        bench.frames(1);
        // It is tried three times, and an error is told then.
        assert_eq!(bench.ended(at).0, 0x84);
        assert!(!bench.line.high());
        bench.frames(2);
        assert_eq!(bench.ended(at), (0x44, 0));
        assert_eq!((bench.read(STATUS), bench.line.high()), (2, true));
        assert_eq!(u64::from(bench.word(QUEUE + 4)), at);
    }
    // Without a bound it is tried for ever.
    let nobody = bench.transfer(0, at(0), SETUP, 8, SETUPS);
    bench.put(nobody + 4, &[ACTIVE]);
    bench.enqueue(QUEUE, &[nobody], 0);
    bench.frames(9);
    assert_eq!(bench.ended(nobody).0, 0x84);
    // Until it is reset.
    bench.write(PORT, 2, 0x200);
    bench.write(PORT, 2, 0);
    bench.write(PORT, 2, 4);
    assert!(bench.control(at(0), GET_DEVICE, &[]).is_ok());
}

#[test]
fn a_port_passes_packets_only_while_it_is_enabled_and_awake() {
    let mut bench = Bench::stick();
    for (closed, open) in [(0, 4), (0x1004, 4), (0x200, 4)] {
        bench.write(PORT, 2, closed);
        let at = bench.transfer(0, STICK, SETUP, 8, SETUPS);
        bench.enqueue(QUEUE, &[at], 0);
        bench.frames(3);
        assert_eq!(bench.ended(at).0, 0x44, "{closed:#x}");
        if closed == 0x1004 {
            // It wakes when its resume ends.
            bench.write(PORT, 2, 0x1044);
            assert_eq!(bench.read(PORT) & 0x1044, 0x1044);
            bench.write(PORT, 2, 0x1004);
            assert_eq!(bench.read(PORT) & 0x1044, 4);
        }
        bench.write(PORT, 2, open);
        assert!(bench.control(STICK, GET_DEVICE, &[]).is_ok(), "{closed:#x}");
    }
    // Nothing is on the other, so nothing can be enabled there.
    assert_eq!(bench.read(PORT + 2), 0x80);
    bench.write(PORT + 2, 2, 0x1004);
    assert_eq!(bench.read(PORT + 2), 0x80);
}

#[test]
fn a_reset_controller_has_lost_sight_of_its_devices() {
    let mut bench = Bench::stick();
    bench.write(PORT, 2, 0xe);
    bench.write(COMMAND, 2, 2);
    assert_eq!(bench.read(COMMAND), 0);
    assert_eq!(bench.read(BASE), 0);
    // Connection and enabling have changed, and the device is there.
    assert_eq!(bench.read(PORT), 0x9b);
    bench.write(PORT, 2, 0xa);
    assert_eq!(bench.read(PORT), 0x91);
    // A reset of the bus is one of devices as well, for as long as it lasts.
    bench.write(COMMAND, 2, 4);
    assert_eq!(bench.read(COMMAND), 4);
    assert_eq!(bench.read(PORT), 0x93);
    bench.write(COMMAND, 2, 0);
    assert_eq!(bench.read(STATUS), 0x20);
}

#[test]
fn a_disk_is_read_and_written() {
    let mut bench = Bench::stick();
    bench.block(1024, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0]);
    assert_eq!(bench.bulk(IN, 1, 1024), [(0, 64); 16]);
    assert_eq!(bench.data::<7>(), *b"a stick");
    assert_eq!(bench.bulk(IN, 1, 13), [(0, 13)]);
    assert_eq!(bench.data::<13>(), *b"USBS\x4d\0\0\0\0\0\0\0\0");
    // More than goes to the disk at once, and not a multiple of that.
    let written: Vec<u8> = (0..4608u32).map(|it| (it * 7 / 5) as u8).collect();
    bench.block(4608, false, &[0x2a, 0, 0, 0, 0, 9, 0, 0, 9, 0]);
    bench.lay(DATA, &written);
    assert_eq!(bench.bulk(OUT, 2, 4608), [(0, 64); 72]);
    assert_eq!(bench.bulk(IN, 1, 13), [(0, 13)]);
    assert_eq!(bench.data::<13>()[8..], [0; 5]);
    assert_eq!(bench.disk.bytes()[9 * 512..][..4608], written);
    // What was written is read, not what was read before.
    bench.block(4608, true, &[0x28, 0, 0, 0, 0, 9, 0, 0, 9, 0]);
    assert_eq!(bench.bulk(IN, 1, 4608), [(0, 64); 72]);
    assert_eq!(bench.data::<4608>().as_slice(), written);
}

#[test]
fn a_short_packet_stops_its_queue_where_that_is_asked_for() {
    let mut bench = Bench::stick();
    let to = To {
        endpoint: 1,
        ..STICK
    };
    for flags in [SHORT_STOPS, 0] {
        // 36 bytes come where 128 are asked for, and an account where 28 are.
        bench.block(36, true, &[0x12, 0, 0, 0, 36, 0]);
        let first = bench.transfer(0, to, IN, 64, DATA);
        let second = bench.transfer(1, to, IN, 64, DATA + 64);
        bench.put(first + 4, &[bench.control_word(first) | flags]);
        bench.enqueue(QUEUE, &[first, second], DEPTH);
        bench.write(STATUS, 2, 0x1f);
        bench.frames(1);
        assert_eq!(bench.ended(first), (0, 36));
        if flags == 0 {
            assert_eq!(bench.ended(second), (0, 13));
            assert_eq!(bench.word(QUEUE + 4), END);
            assert_eq!((bench.read(STATUS), bench.line.high()), (0, false));
        } else {
            assert_eq!(bench.ended(second).0, 0x80);
            assert_eq!(u64::from(bench.word(QUEUE + 4)), first);
            assert_eq!((bench.read(STATUS), bench.line.high()), (1, true));
            // By these alone.
            bench.write(INTERRUPTS, 2, 7);
            assert!(!bench.line.high());
            bench.write(INTERRUPTS, 2, 0xf);
            bench.enqueue(QUEUE, &[second], 0);
            bench.frames(1);
        }
    }
}

#[test]
fn a_transfer_interrupts_where_it_asks_for_that() {
    let mut bench = Bench::stick();
    bench.write(STATUS, 2, 0x1f);
    let at = bench.transfer(0, STICK, SETUP, 8, SETUPS);
    bench.put(at + 4, &[ACTIVE | INTERRUPT]);
    bench.enqueue(QUEUE, &[at], 0);
    bench.frames(1);
    assert_eq!((bench.read(STATUS), bench.line.high()), (1, true));
    bench.write(STATUS, 2, 0);
    assert!(bench.line.high());
    // Its wire, and what else it hangs on.
    bench.uhci.config_write(0xc0, 2, 0);
    assert!(!bench.line.high());
    bench.uhci.config_write(0xc0, 2, 0x2000);
    assert!(bench.line.high());
    bench.write(INTERRUPTS, 2, 0xb);
    assert!(!bench.line.high());
    bench.write(INTERRUPTS, 2, 4);
    assert!(bench.line.high());
    bench.write(STATUS, 2, 1);
    assert!(!bench.line.high());
    assert_eq!(bench.read(STATUS), 0);
}

#[test]
fn a_device_that_says_too_much_babbles() {
    let mut bench = Bench::stick();
    bench.block(36, true, &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!(bench.bulk(IN, 1, 20), [(0x50, 0)]);
    assert_eq!(bench.read(STATUS) & 2, 2);
}

#[test]
fn hands_are_heard_once_they_are_asked_for() {
    let mut bench = Bench::new(true);
    let handle = bench.handle.clone().unwrap();
    let hand = TabletEvent {
        x: 0x1234,
        y: 0x7fff,
        wheel: 1,
        buttons: 1,
    };
    for (port, to) in [(0, STICK), (1, KEYBOARD)] {
        bench.enable(port);
        let address = port as u8 + 1;
        let there = To {
            address: address.into(),
            ..to
        };
        bench
            .control(to, [0, 5, address, 0, 0, 0, 0, 0], &[])
            .unwrap();
        assert!(!handle.point(hand) || port == 1);
        assert_eq!(handle.key(&[0x1c]), None);
        bench.control(there, SET_CONFIGURATION, &[]).unwrap();
        let to = To {
            endpoint: 1,
            ..there
        };
        let at = bench.transfer(0, to, IN, 8, DATA);
        bench.enqueue(QUEUE, &[at], 0);
        bench.frames(1);
        assert_eq!(bench.ended(at).0, 0x88);
        if port == 0 {
            assert!(handle.point(hand));
        } else {
            assert_eq!(handle.key(&[0x1c]), Some(true));
        }
        bench.frames(1);
        if port == 0 {
            assert_eq!(bench.ended(at), (0, 6));
            assert_eq!(bench.data::<6>(), [1, 0x34, 0x12, 0xff, 0x7f, 0xff]);
        } else {
            assert_eq!(bench.ended(at), (0, 8));
            assert_eq!(bench.data::<8>(), [0, 0, 4, 0, 0, 0, 0, 0]);
        }
    }
    // A controller that stands still cannot ask.
    bench.write(COMMAND, 2, 0xc0);
    assert_eq!(handle.key(&[0x1c]), None);
}
