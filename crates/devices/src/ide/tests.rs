#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::BlockDevice;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{Drive, Ide, IdePorts};
use crate::pci::PciFunction;
use crate::testing::{FakeClock, FakeLine, FakeTimer};
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::{RateGate, RateLimit};
use crate::{Device, Line, Pace, RemovableDrive};

struct Bench {
    ide: Ide,
    ports: IdePorts,
    irqs: [Arc<FakeLine>; 2],
    memory: GuestMemory,
    disk: Arc<MemoryDisk>,
    disc: Arc<MemoryDisk>,
}

const DISK_SECTORS: usize = 600;
const DISC_FRAMES: usize = 40;

/// A disk as the first master, a CD-ROM drive as the second.
fn bench() -> Bench {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x10_0000,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let disk = Arc::new(MemoryDisk::new(DISK_SECTORS * 512));
    for sector in 0..DISK_SECTORS {
        let mark = (sector as u32).to_le_bytes();
        disk.write_at(&mark, sector as u64 * 512).unwrap();
    }
    let disc = Arc::new(MemoryDisk::new(DISC_FRAMES * 2048));
    for frame in 0..DISC_FRAMES {
        let mark = (frame as u32 | 0xcd00_0000).to_le_bytes();
        disc.write_at(&mark, frame as u64 * 2048).unwrap();
    }
    let irqs = [FakeLine::new(), FakeLine::new()];
    let drives = [
        Some(Drive::Disk {
            disk: Arc::clone(&disk) as _,
            serial: "abc".into(),
        }),
        None,
        Some(Drive::Cd(Some(Arc::clone(&disc) as _))),
        None,
    ];
    let lines = [0, 1].map(|index: usize| Arc::clone(&irqs[index]) as Arc<dyn Line>);
    let mut ide = Ide::new(drives, lines, &memory);
    ide.config_write(0x04, 2, 5);
    Bench {
        ports: ide.ports(),
        ide,
        irqs,
        memory,
        disk,
        disc,
    }
}

impl Bench {
    fn status(&mut self, channel: u64) -> u64 {
        self.ports.read(channel + 7, 1)
    }

    /// Writes the registers from features on, the last of which is the command.
    fn command(&mut self, channel: u64, registers: [u8; 7]) {
        for (offset, value) in (1..).zip(registers) {
            // The drive is chosen before, by bit 4 of its register.
            self.ports.write(channel + offset, 1, value.into());
        }
    }

    fn words(&mut self, channel: u64, count: usize) -> Vec<u8> {
        let words = (0..count).map(|_| self.ports.read(channel, 2) as u16);
        words.flat_map(u16::to_le_bytes).collect()
    }

    fn packet(&mut self, packet: &[u8]) {
        self.command(0x10, [0, 0, 0, 0, 0x08, 0xa0, 0xa0]);
        assert_eq!(self.status(0x10), 0x58);
        let mut command = packet.to_vec();
        command.resize(12, 0);
        for word in command.chunks(2) {
            let value = u64::from(u16::from_le_bytes([word[0], word[1]]));
            self.ports.write(0x10, 2, value);
        }
    }
}

fn mark(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[test]
fn drives_say_what_they_are() {
    let mut bench = bench();
    bench.command(0, [0, 0, 0, 0, 0, 0xa0, 0xec]);
    assert!(bench.irqs[0].high());
    assert_eq!(bench.status(0), 0x58);
    assert!(!bench.irqs[0].high());
    let words = bench.words(0, 256);
    assert_eq!(&words[20..24], b"ba c");
    assert_eq!(mark(&words[120..]) as usize, DISK_SECTORS);
    assert_eq!(bench.status(0), 0x50);
    // A CD-ROM drive shows its signature instead.
    bench.command(0x10, [0, 0, 0, 0, 0, 0xa0, 0xec]);
    assert_eq!(bench.status(0x10) & 1, 1);
    assert_eq!(
        (bench.ports.read(0x14, 1), bench.ports.read(0x15, 1)),
        (0x14, 0xeb)
    );
    // Where there is no drive there is nothing.
    bench.ports.write(6, 1, 0xb0);
    assert_eq!(bench.status(0), 0);
}

#[test]
fn sectors_are_read_and_written_through_the_data_register() {
    let mut bench = bench();
    bench.command(0, [0, 2, 7, 0, 0, 0xe0, 0x20]);
    for sector in [7, 8] {
        assert!(bench.irqs[0].high());
        assert_eq!(bench.status(0), 0x58);
        assert_eq!(mark(&bench.words(0, 256)), sector);
    }
    assert_eq!(bench.status(0), 0x50);
    bench.command(0, [0, 1, 9, 0, 0, 0xe0, 0x30]);
    assert!(!bench.irqs[0].high());
    for word in 0..256 {
        bench.ports.write(0, 2, word);
    }
    assert!(bench.irqs[0].high());
    assert_eq!(bench.disk.bytes()[9 * 512..9 * 512 + 4], [0, 0, 1, 0]);
    // By cylinder, head and sector: the second head begins behind 63 sectors.
    bench.command(0, [0, 1, 1, 0, 0, 0xa1, 0x20]);
    assert_eq!(mark(&bench.words(0, 256)), 63);
}

#[test]
fn what_a_disk_does_not_have_is_refused() {
    let mut bench = bench();
    bench.command(0, [0, 2, 0x57, 2, 0, 0xe0, 0x20]);
    assert_eq!(bench.status(0) & 0x89, 1);
    assert_eq!(bench.ports.read(1, 1), 0x14);
    bench.command(0, [0, 0, 0, 0, 0, 0xe0, 0xff]);
    assert_eq!(bench.ports.read(1, 1), 4);
    assert_eq!(bench.ports.read(0, 2), 0);
}

#[test]
fn blocks_of_several_sectors_interrupt_once() {
    let mut bench = bench();
    bench.command(0, [0, 4, 0, 0, 0, 0xe0, 0xc6]);
    bench.command(0, [0, 6, 0, 0, 0, 0xe0, 0xc4]);
    let before = bench.irqs[0].edges();
    bench.status(0);
    let words = bench.words(0, 4 * 256);
    assert_eq!(mark(&words[3 * 512..]), 3);
    assert_eq!(bench.irqs[0].edges(), before + 1);
    assert_eq!(mark(&bench.words(0, 2 * 256)), 4);
    assert_eq!(bench.status(0), 0x50);
}

/// Two regions: 512 bytes at 0x2000, and what is left at 0x4000.
fn table(bench: &Bench, second: u32) {
    let table: [u32; 4] = [0x2000, 0x200, 0x4000, 0x8000_0000 | second];
    let bytes: Vec<u8> = table.iter().flat_map(|word| word.to_le_bytes()).collect();
    bench
        .memory
        .ram()
        .write_slice(&bytes, GuestAddress(0x1000))
        .unwrap();
}

fn word_at(bench: &Bench, at: u64) -> u32 {
    bench.memory.ram().read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn dma_moves_a_disks_sectors_both_ways() {
    let mut bench = bench();
    table(&bench, 0x400);
    bench.ide.bar_write(4, 4, 4, 0x1000);
    // A long command: 3 sectors from 300 on.
    for (offset, value) in [
        (2, 0),
        (2, 3),
        (3, 0),
        (3, 44),
        (4, 0),
        (4, 1),
        (5, 0),
        (5, 0),
    ] {
        bench.ports.write(offset, 1, value);
    }
    bench.ports.write(6, 1, 0xe0);
    bench.ports.write(7, 1, 0x25);
    assert!(!bench.irqs[0].high());
    bench.ide.bar_write(4, 0, 1, 0x09);
    assert!(bench.irqs[0].high());
    assert_eq!(bench.ide.bar_read(4, 2, 1) & 7, 4);
    assert_eq!(
        [0x2000, 0x4000, 0x4200].map(|at| word_at(&bench, at)),
        [300, 301, 302]
    );
    bench.ide.bar_write(4, 0, 1, 0);
    bench.ide.bar_write(4, 2, 1, 4);
    bench
        .memory
        .ram()
        .write_obj(0xabcdu32, GuestAddress(0x2000))
        .unwrap();
    bench.command(0, [0, 3, 10, 0, 0, 0xe0, 0xca]);
    bench.ide.bar_write(4, 0, 1, 0x01);
    assert_eq!(mark(&bench.disk.bytes()[10 * 512..]), 0xabcd);
    assert_eq!(mark(&bench.disk.bytes()[12 * 512..]), 302);
}

#[test]
fn a_transfer_waits_for_its_direction_and_for_nothing_else() {
    let mut bench = bench();
    table(&bench, 0x400);
    bench.ide.bar_write(4, 4, 4, 0x1000);
    bench.command(0, [0, 3, 10, 0, 0, 0xe0, 0xc8]);
    // Started towards the disk, which has something to read.
    bench.ide.bar_write(4, 0, 1, 0x01);
    assert!(!bench.irqs[0].high());
    bench.ide.bar_write(4, 0, 1, 0x09);
    assert!(bench.irqs[0].high());
    assert_eq!(word_at(&bench, 0x2000), 10);
}

#[test]
fn a_table_that_is_too_short_leaves_the_drive_waiting() {
    let mut bench = bench();
    table(&bench, 0x200);
    bench.ide.bar_write(4, 4, 4, 0x1000);
    bench.command(0, [0, 3, 0, 0, 0, 0xe0, 0xc8]);
    bench.ide.bar_write(4, 0, 1, 0x09);
    assert!(!bench.irqs[0].high());
    assert_eq!(bench.ide.bar_read(4, 2, 1) & 7, 2);
    // A reset helps.
    bench.ports.write(8, 1, 4);
    bench.ports.write(8, 1, 0);
    assert_eq!(bench.status(0), 0x50);
}

#[test]
fn a_disc_is_read_by_packets() {
    let mut bench = bench();
    bench.packet(&[0x25]);
    assert_eq!(bench.ports.read(0x12, 1), 2);
    let capacity = bench.words(0x10, 4);
    assert_eq!(capacity, [0, 0, 0, DISC_FRAMES as u8 - 1, 0, 0, 8, 0]);
    assert_eq!(bench.status(0x10), 0x50);
    assert_eq!(bench.ports.read(0x12, 1), 3);
    bench.packet(&[0x28, 0, 0, 0, 0, 5, 0, 0, 2]);
    // As many bytes at a time as the guest said.
    for frame in [5, 6] {
        assert_eq!(
            (bench.ports.read(0x14, 1), bench.ports.read(0x15, 1)),
            (0, 8)
        );
        assert_eq!(mark(&bench.words(0x10, 1024)), 0xcd00_0000 | frame);
    }
    assert_eq!(bench.status(0x10), 0x50);
    bench.packet(&[0x28, 0, 0, 0, 0, 40, 0, 0, 1]);
    assert_eq!(bench.status(0x10) & 1, 1);
    bench.packet(&[0x03, 0, 0, 0, 18]);
    let sense = bench.words(0x10, 9);
    assert_eq!((sense[2], sense[12]), (5, 0x21));
}

#[test]
fn a_changed_disc_is_told_of_once() {
    let mut bench = bench();
    bench.ide.change_disc(1, 0, None);
    bench.packet(&[0x00]);
    assert_eq!(bench.ports.read(0x11, 1) >> 4, 6);
    bench.packet(&[0x00]);
    assert_eq!(bench.ports.read(0x11, 1) >> 4, 2);
    bench
        .ide
        .change_disc(1, 0, Some(Arc::clone(&bench.disc) as _));
    bench.packet(&[0x00]);
    bench.packet(&[0x00]);
    assert_eq!(bench.status(0x10), 0x50);
}

#[test]
fn a_transfer_goes_on_after_a_restore() {
    let mut one = bench();
    one.command(0, [0, 2, 20, 0, 0, 0xe0, 0x20]);
    one.words(0, 100);
    let saved = one.ide.save();
    let mut other = bench();
    other.ide.restore(&saved).unwrap();
    other.ide.resume();
    other.words(0, 156);
    assert_eq!(mark(&other.words(0, 256)), 21);
    assert_eq!(other.status(0), 0x50);
}

/// What GET EVENT STATUS NOTIFICATION says of media: the event, and the tray.
fn media_event(bench: &mut Bench) -> (u8, u8) {
    bench.packet(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
    let answer = bench.words(0x10, 4);
    assert_eq!(bench.status(0x10), 0x50);
    (answer[4], answer[5])
}

#[test]
fn a_disc_that_the_guest_holds_is_asked_for_and_taken_by_force() {
    let mut bench = bench();
    let moved = FakeLine::new();
    let tray = bench.ide.tray(1, 0, Arc::clone(&moved) as _);
    bench.packet(&[0x1e, 0, 0, 0, 1]);
    assert!(tray.report().locked);
    assert!(!tray.open(false));
    // It is told once, and the guest lets go and opens the tray itself.
    assert_eq!(media_event(&mut bench), (1, 2));
    assert_eq!(media_event(&mut bench), (0, 2));
    bench.packet(&[0x1b, 0, 0, 0, 2]);
    assert_eq!(bench.status(0x10) & 1, 1);
    bench.packet(&[0x1e, 0, 0, 0, 0]);
    bench.packet(&[0x1b, 0, 0, 0, 2]);
    assert!(moved.high() && tray.report().open);
    assert!(tray.change(None));
    assert_eq!(media_event(&mut bench), (0, 1));
    assert!(tray.change(Some(Arc::new(MemoryDisk::new(2048)))));
    tray.close();
    assert_eq!(media_event(&mut bench), (2, 2));
    bench.packet(&[0x00]);
    assert_eq!(bench.ports.read(0x11, 1) >> 4, 6);
    bench.packet(&[0x25]);
    assert_eq!(bench.words(0x10, 4)[..4], [0, 0, 0, 0]);
    // By force it is gone whatever the guest says, also in the middle of a transfer.
    bench.packet(&[0x1e, 0, 0, 0, 1]);
    bench.packet(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!(tray.open(true));
    assert!(tray.change(None));
    bench.packet(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bench.ports.read(0x11, 1) >> 4, 6);
    bench.packet(&[0x00]);
    assert_eq!(bench.ports.read(0x11, 1) >> 4, 2);
}

/// A byte, and what comes with it.
const ONE_BYTE: RateLimit = RateLimit {
    bytes: NonZeroU64::new(1),
    operations: None,
};

/// What holds a bench's drives back.
struct Held {
    gate: RateGate,
    timer: Arc<FakeTimer>,
    pace: Pace,
}

fn held_back() -> (Bench, Held) {
    let mut bench = bench();
    let (gate, timer) = (RateGate::default(), FakeTimer::new());
    let pace = Pace::new(gate.clone(), FakeClock::new(), Arc::clone(&timer) as _);
    bench.ide = bench.ide.with_pace(&pace);
    (bench, Held { gate, timer, pace })
}

#[test]
fn what_a_rate_holds_back_comes_by_an_alarm_also_after_a_restore() {
    let (mut bench, held) = held_back();
    held.gate.set(ONE_BYTE);
    // The first passes, and is a debt.
    bench.command(0, [0, 2, 20, 0, 0, 0xe0, 0x20]);
    assert_eq!(mark(&bench.words(0, 256)), 20);
    assert_eq!(bench.status(0) & 0x88, 0x80);
    assert!(held.timer.deadline().is_some() && !bench.irqs[0].high());
    assert_eq!(bench.words(0, 4), [0; 8]);
    bench.ide.expire();
    assert_eq!(bench.status(0) & 0x88, 0x80);
    let saved = bench.ide.save();
    let mut other = self::bench();
    other.ide.restore(&saved).unwrap();
    assert_eq!(other.status(0) & 0x88, 0x80);
    other.ide.resume();
    assert_eq!(mark(&other.words(0, 256)), 21);
    held.gate.set(RateLimit::default());
    bench.ide.expire();
    assert!(bench.irqs[0].high());
    assert_eq!(mark(&bench.words(0, 256)), 21);
    assert_eq!(bench.status(0), 0x50);
}

#[test]
fn channels_have_their_turns_where_a_rate_lets_little_pass() {
    let (mut bench, held) = held_back();
    // One block passes each time that it is set.
    held.gate.set(ONE_BYTE);
    bench.command(0, [0, 9, 20, 0, 0, 0xe0, 0x20]);
    bench.words(0, 256);
    bench.packet(&[0x28, 0, 0, 0, 0, 5, 0, 0, 1]);
    for ready in [[0x08, 0x80], [0x80, 0x08]] {
        held.gate.set(ONE_BYTE);
        bench.ide.expire();
        let now = [0, 0x10].map(|channel| bench.status(channel) & 0x88);
        assert_eq!(now, ready);
        // The disk has always more to do.
        bench.words(0, 256);
    }
}

/// Writes a sector's worth of bytes to the first channel's data register.
fn give_sector(bench: &mut Bench, value: u64) {
    for _ in 0..256 {
        bench.ports.write(0, 2, value);
    }
}

#[test]
fn the_first_block_of_a_write_waits_too_also_after_a_restore() {
    let (mut bench, held) = held_back();
    held.gate.set(ONE_BYTE);
    bench.command(0, [0, 1, 9, 0, 0, 0xe0, 0x30]);
    give_sector(&mut bench, 0x1111);
    assert_eq!(bench.status(0), 0x50);
    bench.command(0, [0, 2, 9, 0, 0, 0xe0, 0x30]);
    // Before the first block, and before the second.
    for (value, interrupts) in [(0x2222, false), (0x3333, true)] {
        assert_eq!(bench.status(0) & 0x88, 0x80);
        give_sector(&mut bench, 0x4444);
        let saved = bench.ide.save();
        let mut other = self::bench();
        other.ide = other.ide.with_pace(&held.pace);
        other.ide.restore(&saved).unwrap();
        other.ide.resume();
        assert_eq!(other.status(0) & 0x88, 0x80);
        held.gate.set(ONE_BYTE);
        other.ide.expire();
        // As where it need not wait: the first is not told of.
        assert_eq!(other.irqs[0].high(), interrupts);
        assert_eq!(other.status(0) & 0x88, 0x08);
        give_sector(&mut other, value);
        let sector = if interrupts { 10 } else { 9 };
        let [low, _] = (value as u16).to_le_bytes();
        assert_eq!(other.disk.bytes()[sector * 512..][..2], [low; 2]);
        bench = other;
    }
    assert_eq!(bench.status(0), 0x50);
}

#[test]
fn a_flush_is_an_operation() {
    let (mut bench, held) = held_back();
    let one = RateLimit {
        bytes: None,
        operations: NonZeroU64::new(1),
    };
    held.gate.set(one);
    for (command, flushed) in [(0xe7, 1), (0xea, 2)] {
        bench.command(0, [0, 0, 0, 0, 0, 0xe0, command]);
        let done = |bench: &Bench| bench.disk.flushes.load(Ordering::Relaxed);
        if flushed == 2 {
            assert_eq!((bench.status(0), done(&bench)), (0xd0, 1));
            assert!(held.timer.deadline().is_some() && !bench.irqs[0].high());
            held.gate.set(one);
            bench.ide.expire();
        }
        assert!(bench.irqs[0].high());
        assert_eq!((bench.status(0), done(&bench)), (0x50, flushed));
    }
}

#[test]
fn a_drive_that_is_busy_hears_of_nothing_but_a_reset() {
    let (mut bench, held) = held_back();
    held.gate.set(ONE_BYTE);
    bench.command(0, [0, 2, 20, 0, 0, 0xe0, 0x20]);
    bench.words(0, 256);
    assert_eq!(bench.status(0), 0xd0);
    // Neither of another command nor of another drive.
    bench.command(0, [0, 1, 30, 0, 0, 0xf0, 0x20]);
    assert_eq!(bench.status(0), 0xd0);
    let registers = [2, 3, 6].map(|offset| bench.ports.read(offset, 1));
    assert_eq!(registers, [2, 20, 0xe0]);
    held.gate.set(RateLimit::default());
    bench.ide.expire();
    assert_eq!(mark(&bench.words(0, 256)), 21);
    held.gate.set(ONE_BYTE);
    bench.command(0, [0, 2, 20, 0, 0, 0xe0, 0x20]);
    bench.words(0, 256);
    bench.packet(&[0x28, 0, 0, 0, 0, 5, 0, 0, 1]);
    assert_eq!((bench.status(0), bench.status(0x10)), (0xd0, 0xd0));
    bench.command(0x10, [0, 0, 0, 0, 0, 0xa0, 0x08]);
    assert_eq!(bench.status(0x10), 0);
    // A disk knows no such reset.
    bench.command(0, [0, 0, 0, 0, 0, 0xe0, 0x08]);
    assert_eq!(bench.status(0), 0xd0);
    bench.ports.write(8, 1, 4);
    bench.ports.write(8, 1, 0);
    assert_eq!(bench.status(0), 0x50);
}
