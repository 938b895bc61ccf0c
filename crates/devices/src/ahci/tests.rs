#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::BlockDevice;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{Ahci, AhciParts, SataDrive};
use crate::pci::PciFunction;
use crate::testing::{FakeClock, FakeLine, FakeMsi, FakeTimer};
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::{RateGate, RateLimit};
use crate::{Pace, RemovableDrive};

const BAR: u8 = 5;
const DISK: u64 = 0x100;
const CD: u64 = 0x180;
const LIST: u64 = 0x1000;
const FRAMES: u64 = 0x2000;
const TABLE: u64 = 0x3000;
const DATA: u64 = 0x1_0000;
const SECTORS: usize = 4096;
const READY: u64 = 0x50;

struct Bench {
    ahci: Ahci,
    memory: GuestMemory,
    disk: Arc<MemoryDisk>,
    line: Arc<FakeLine>,
    msi: Arc<FakeMsi>,
    gate: RateGate,
    timer: Arc<FakeTimer>,
    trays: Arc<FakeLine>,
}

/// A disk on the first port, a CD-ROM drive on the second, both started.
fn bench() -> Bench {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x20_0000,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let disk = Arc::new(MemoryDisk::new(SECTORS * 512));
    for sector in 0..SECTORS {
        let mark = (sector as u32).to_le_bytes();
        disk.write_at(&mark, sector as u64 * 512).unwrap();
    }
    let disc = Arc::new(MemoryDisk::new(40 * 2048));
    disc.write_at(b"disc", 7 * 2048).unwrap();
    let (line, msi) = (FakeLine::new(), FakeMsi::new());
    let (gate, timer, trays) = (RateGate::default(), FakeTimer::new(), FakeLine::new());
    let drives = vec![
        SataDrive::Disk {
            disk: Arc::clone(&disk) as _,
            serial: "abc".into(),
        },
        SataDrive::Cd(Some(disc as _)),
    ];
    let parts = AhciParts {
        memory: memory.clone(),
        msi: Arc::clone(&msi) as _,
        line: Arc::clone(&line) as _,
        pace: Pace::new(gate.clone(), FakeClock::new(), Arc::clone(&timer) as _),
        trays: Arc::clone(&trays) as _,
    };
    let mut bench = Bench {
        ahci: Ahci::new(drives, parts),
        memory,
        disk,
        line,
        msi,
        gate,
        timer,
        trays,
    };
    bench.ahci.config_write(0x04, 2, 6);
    bench.write(0x04, 2);
    for port in [DISK, CD] {
        bench.write(port, LIST);
        bench.write(port + 0x08, FRAMES);
        bench.write(port + 0x14, 0xffff_ffff);
        bench.write(port + 0x18, 0x11);
    }
    bench
}

impl Bench {
    fn read(&mut self, at: u64) -> u64 {
        self.ahci.bar_read(BAR, at, 4)
    }

    fn write(&mut self, at: u64, value: u64) {
        self.ahci.bar_write(BAR, at, 4, value);
    }

    /// Lays a command into a slot, with its data in two regions of which the first has 512 bytes.
    fn lay(&mut self, slot: u64, command: &Command) {
        let table = TABLE + slot * 0x100;
        let header = [2 << 16 | 5, 0, table as u32, 0];
        let ram = self.memory.ram();
        ram.write_obj(header, GuestAddress(LIST + slot * 32))
            .unwrap();
        let lba = command.lba.to_le_bytes();
        let [features, features_high] = command.features.to_le_bytes();
        let [count, count_high] = command.count.to_le_bytes();
        let frame = [
            0x27,
            0x80,
            command.code,
            features,
            lba[0],
            lba[1],
            lba[2],
            0x40,
            lba[3],
            lba[4],
            lba[5],
            features_high,
            count,
            count_high,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        ram.write_obj::<[u8; 20]>(frame, GuestAddress(table))
            .unwrap();
        ram.write_obj(command.packet, GuestAddress(table + 0x40))
            .unwrap();
        let data = DATA as u32;
        let regions = [data, 0, 0, 511, data + 0x1000, 0, 0, 0x3_ffff];
        ram.write_obj(regions, GuestAddress(table + 0x80)).unwrap();
    }

    fn run(&mut self, port: u64, command: &Command) {
        self.lay(0, command);
        self.write(port + 0x38, 1);
    }

    /// What interrupts, which is taken.
    fn pending(&mut self, port: u64) -> u64 {
        let pending = self.read(port + 0x10);
        self.write(port + 0x10, pending);
        let all = self.read(0x08);
        self.write(0x08, all);
        pending
    }

    fn data<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory
            .ram()
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }
}

#[derive(Default)]
struct Command {
    code: u8,
    features: u16,
    lba: u64,
    count: u16,
    packet: [u8; 12],
}

fn mark(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

#[test]
fn ports_say_what_hangs_on_them() {
    let mut bench = bench();
    assert_eq!(bench.read(0x0c), 3);
    assert_eq!(bench.read(0x00) & 0x1f, 1);
    assert_eq!(bench.read(DISK + 0x28), 0x123);
    assert_eq!(bench.read(DISK + 0x24), 0x101);
    assert_eq!(bench.read(CD + 0x24), 0xeb14_0101);
    // The second's signature came after the first's.
    let frame: [u8; 16] = bench.data(FRAMES + 0x40);
    assert_eq!(frame[..7], [0x34, 0, 0x50, 1, 1, 0x14, 0xeb]);
    let identify = Command {
        code: 0xec,
        ..Command::default()
    };
    bench.run(DISK, &identify);
    assert_eq!(bench.pending(DISK), 2);
    assert_eq!(bench.data::<4>(DATA + 20), *b"ba c");
    assert_eq!(mark(bench.data(DATA + 200)), SECTORS as u32);
    assert_eq!(bench.data::<4>(LIST + 4), 512u32.to_le_bytes());
    // A CD-ROM drive is none that this is asked of.
    bench.run(CD, &identify);
    assert_eq!(bench.pending(CD), 0x4000_0001);
    assert_eq!(bench.read(CD + 0x20), 0x0451);
    assert_eq!(bench.read(CD + 0x38), 1);
    bench.write(CD + 0x18, 0x10);
    assert_eq!(bench.read(CD + 0x38), 0);
}

#[test]
fn sectors_go_by_regions_and_interrupt() {
    let mut bench = bench();
    bench.run(
        DISK,
        &Command {
            code: 0x25,
            lba: 100,
            count: 3,
            ..Command::default()
        },
    );
    assert_eq!(mark(bench.data(DATA)), 100);
    assert_eq!(mark(bench.data(DATA + 0x1000)), 101);
    assert_eq!(mark(bench.data(DATA + 0x1200)), 102);
    assert!(bench.line.high());
    assert_eq!(bench.read(0x08), 1);
    assert_eq!(bench.pending(DISK), 1);
    assert!(!bench.line.high());
    let ram = bench.memory.ram();
    ram.write_slice(b"written", GuestAddress(DATA + 0x1000))
        .unwrap();
    bench.run(
        DISK,
        &Command {
            code: 0x35,
            lba: 200,
            count: 2,
            ..Command::default()
        },
    );
    assert_eq!(bench.disk.bytes()[201 * 512..][..7], *b"written");
    assert_eq!(bench.read(DISK + 0x20), READY);
}

#[test]
fn queued_commands_are_answered_by_their_tags() {
    let mut bench = bench();
    for (slot, lba) in [(3u64, 7u64), (9, 4000)] {
        let command = Command {
            code: 0x60,
            features: 1,
            lba,
            count: (slot as u16) << 3,
            ..Command::default()
        };
        bench.lay(slot, &command);
        bench.write(DISK + 0x34, 1 << slot);
    }
    bench.write(DISK + 0x38, 1 << 3 | 1 << 9);
    assert_eq!(bench.read(DISK + 0x34), 0);
    assert_eq!(bench.pending(DISK), 8);
    assert_eq!(mark(bench.data(DATA)), 4000);
    assert_eq!(
        bench.data::<8>(FRAMES + 0x58),
        [0xa1, 0x40, 0x50, 0, 0, 2, 0, 0]
    );
}

#[test]
fn a_queued_command_that_fails_is_in_the_log_and_nothing_goes_on_before() {
    let mut bench = bench();
    for (slot, lba) in [(2u64, SECTORS as u64), (5, 1)] {
        let command = Command {
            code: 0x60,
            features: 1,
            lba,
            count: (slot as u16) << 3,
            ..Command::default()
        };
        bench.lay(slot, &command);
        bench.write(DISK + 0x34, 1 << slot);
    }
    bench.write(DISK + 0x38, 1 << 2 | 1 << 5);
    assert_eq!(bench.pending(DISK), 0x4000_0008);
    assert_eq!(bench.read(DISK + 0x34), 1 << 2 | 1 << 5);
    assert_eq!(bench.read(DISK + 0x38), 1 << 5);
    bench.write(DISK + 0x18, 0x10);
    bench.write(DISK + 0x18, 0x11);
    // Of that page there is one, and only who has read it has read it.
    for (lba, count) in [(0x10, 2), (0x110, 1), (0x10, 0)] {
        let log = Command {
            code: 0x2f,
            lba,
            count,
            ..Command::default()
        };
        bench.run(DISK, &log);
        assert_eq!(bench.pending(DISK), 0x4000_0001);
        bench.write(DISK + 0x18, 0x10);
        bench.write(DISK + 0x18, 0x11);
    }
    bench.run(
        DISK,
        &Command {
            code: 0x2f,
            lba: 0x10,
            count: 1,
            ..Command::default()
        },
    );
    let page: [u8; 16] = bench.data(DATA);
    assert_eq!((page[0], page[2], page[3]), (2, 0x51, 0x14));
}

#[test]
fn a_software_reset_shows_the_signature() {
    let mut bench = bench();
    for control in [4u8, 0] {
        bench.lay(0, &Command::default());
        let ram = bench.memory.ram();
        ram.write_obj(0u8, GuestAddress(TABLE + 1)).unwrap();
        ram.write_obj(control, GuestAddress(TABLE + 15)).unwrap();
        ram.write_obj(0u8, GuestAddress(FRAMES + 0x40)).unwrap();
        bench.write(DISK + 0x38, 1);
        assert_eq!(bench.read(DISK + 0x38), 0);
    }
    let frame: [u8; 16] = bench.data(FRAMES + 0x40);
    assert_eq!(frame[..7], [0x34, 0, 0x50, 1, 1, 0, 0]);
}

#[test]
fn the_link_goes_down_and_comes_up() {
    let mut bench = bench();
    bench.write(DISK + 0x2c, 1);
    assert_eq!(bench.read(DISK + 0x28), 0);
    bench.run(DISK, &Command::default());
    assert_eq!(bench.read(DISK + 0x38), 1);
    bench.write(DISK + 0x18, 0x10);
    bench.write(DISK + 0x2c, 0);
    assert_eq!(bench.read(DISK + 0x28), 0x123);
    assert_eq!(bench.read(DISK + 0x24), 0x101);
}

#[test]
fn memory_that_is_none_stops_a_port() {
    let mut bench = bench();
    bench.lay(
        0,
        &Command {
            code: 0x25,
            count: 1,
            ..Command::default()
        },
    );
    let ram = bench.memory.ram();
    ram.write_obj(0xf000_0000u32, GuestAddress(TABLE + 0x80))
        .unwrap();
    bench.write(DISK + 0x38, 1);
    assert_eq!(bench.pending(DISK), 0x2000_0000);
    bench.write(DISK, 0xffff_fc00);
    bench.write(DISK + 0x18, 0x10);
    bench.write(DISK + 0x18, 0x11);
    bench.write(DISK + 0x38, 1);
    assert_eq!(bench.pending(DISK), 0x2000_0000);
}

#[test]
fn a_disc_is_read_by_packets_and_changed() {
    let mut bench = bench();
    let mut read = Command {
        code: 0xa0,
        features: 1,
        ..Command::default()
    };
    read.packet[0] = 0x28;
    read.packet[5] = 7;
    read.packet[8] = 1;
    bench.run(CD, &read);
    assert_eq!(bench.pending(CD), 1);
    assert_eq!(bench.data::<4>(DATA), *b"disc");
    let tray = bench.ahci.tray(1).unwrap();
    assert!(bench.ahci.tray(0).is_none());
    assert!(tray.open(false) && tray.change(None));
    bench.run(CD, &read);
    // The guest is told that it was changed, and then that it is not there.
    assert_eq!(bench.pending(CD), 0x4000_0001);
    assert_eq!(bench.read(CD + 0x20), 0x6051);
    bench.write(CD + 0x18, 0x10);
    bench.write(CD + 0x18, 0x11);
    bench.run(CD, &read);
    assert_eq!(bench.read(CD + 0x20), 0x2051);
}

#[test]
fn a_reset_tells_of_a_tray_that_it_closes() {
    let mut bench = bench();
    let mut open = Command {
        code: 0xa0,
        ..Command::default()
    };
    (open.packet[0], open.packet[4]) = (0x1b, 2);
    bench.run(CD, &open);
    assert!(bench.trays.high());
    bench.ahci.reset();
    assert!(!bench.trays.high());
    assert!(!bench.ahci.tray(1).unwrap().report().open);
}

#[test]
fn a_message_comes_for_each_port_that_has_something_new() {
    let mut bench = bench();
    // The capability is the first: control, address, data.
    bench.ahci.config_write(0x44, 4, 0xfee0_0000);
    bench.ahci.config_write(0x4c, 2, 0x4041);
    bench.ahci.config_write(0x42, 2, 1);
    let flush = Command {
        code: 0xea,
        ..Command::default()
    };
    bench.run(DISK, &flush);
    assert_eq!(bench.msi.take(), [(0xfee0_0000, 0x4041)]);
    assert!(!bench.line.high());
    bench.run(DISK, &flush);
    assert_eq!(bench.msi.take(), []);
    // What came while the last was looked at interrupts again.
    bench.write(0x08, 1);
    assert_eq!(bench.msi.take(), [(0xfee0_0000, 0x4041)]);
    bench.pending(DISK);
    assert_eq!(bench.msi.take(), []);
}

#[test]
fn what_a_rate_holds_back_comes_by_an_alarm_also_after_a_restore() {
    let mut bench = bench();
    bench.gate.set(RateLimit {
        bytes: NonZeroU64::new(1),
        operations: None,
    });
    let read = |lba| Command {
        code: 0x25,
        lba,
        count: 1,
        ..Command::default()
    };
    bench.run(DISK, &read(5));
    assert_eq!(bench.pending(DISK), 1);
    bench.run(DISK, &read(6));
    assert_eq!(bench.pending(DISK), 0);
    assert!(bench.timer.deadline().is_some());
    bench.ahci.expire();
    assert_eq!(bench.read(DISK + 0x38), 1);
    let saved = bench.ahci.save();
    let mut other = self::bench();
    other.lay(0, &read(9));
    other.ahci.restore(&saved).unwrap();
    assert_eq!(other.read(DISK + 0x38), 1);
    other.ahci.resume();
    assert_eq!(mark(other.data(DATA)), 9);
    bench.gate.set(RateLimit::default());
    bench.ahci.expire();
    assert_eq!(mark(bench.data(DATA)), 6);
    assert_eq!(bench.pending(DISK), 1);
}

#[test]
fn what_is_trimmed_is_given_back() {
    let mut bench = bench();
    bench.lay(
        0,
        &Command {
            code: 0x06,
            features: 1,
            count: 1,
            ..Command::default()
        },
    );
    let ram = bench.memory.ram();
    ram.write_obj([10u64 | 2 << 48, 0], GuestAddress(DATA))
        .unwrap();
    bench.write(DISK + 0x38, 1);
    assert_eq!(bench.pending(DISK), 1);
    let bytes = bench.disk.bytes();
    assert_eq!(bytes[10 * 512..][..4], [0; 4]);
    assert_eq!(bytes[12 * 512], 12);
}

#[test]
fn slots_and_ports_have_their_turns_where_a_rate_lets_little_pass() {
    let mut bench = bench();
    // One command passes each time that it is set.
    let one = RateLimit {
        bytes: NonZeroU64::new(1),
        operations: None,
    };
    for slot in [0, 31] {
        let read = Command {
            code: 0x25,
            lba: slot,
            count: 1,
            ..Command::default()
        };
        bench.lay(slot, &read);
    }
    bench.gate.set(one);
    bench.write(DISK + 0x38, 1 | 1 << 31);
    assert_eq!(bench.read(DISK + 0x38), 1 << 31);
    // The first slot is filled again as soon as it is empty.
    bench.write(DISK + 0x38, 1);
    bench.gate.set(one);
    bench.ahci.expire();
    assert_eq!(bench.read(DISK + 0x38), 1);
    let mut read = Command {
        code: 0xa0,
        ..Command::default()
    };
    read.packet[0] = 0x28;
    read.packet[8] = 1;
    bench.lay(1, &read);
    bench.write(CD + 0x38, 1 << 1);
    for left in [(1, 0), (0, 0)] {
        bench.gate.set(one);
        bench.ahci.expire();
        assert_eq!((bench.read(DISK + 0x38), bench.read(CD + 0x38)), left);
    }
    // Where a port is started anew, its first slot comes first.
    bench.write(DISK + 0x18, 0x10);
    bench.write(DISK + 0x18, 0x11);
    bench.gate.set(one);
    bench.write(DISK + 0x38, 1 | 1 << 31);
    assert_eq!(bench.read(DISK + 0x38), 1 << 31);
}

#[test]
fn a_flush_is_an_operation() {
    let mut bench = bench();
    let one = RateLimit {
        bytes: None,
        operations: NonZeroU64::new(1),
    };
    let flush = Command {
        code: 0xea,
        ..Command::default()
    };
    bench.gate.set(one);
    for left in [0, 1] {
        bench.run(DISK, &flush);
        assert_eq!(bench.read(DISK + 0x38), left);
    }
    assert_eq!(bench.disk.flushes.load(Ordering::Relaxed), 1);
    bench.gate.set(one);
    bench.ahci.expire();
    assert_eq!(bench.read(DISK + 0x38), 0);
    assert_eq!(bench.disk.flushes.load(Ordering::Relaxed), 2);
}
