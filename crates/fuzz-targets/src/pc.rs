//! A PC's chipset and its disk controller of old: registers in any order, DMA tables that lie, states of any
//! bytes, while the disc is changed.
#![allow(clippy::cast_possible_truncation, reason = "addresses are small")]

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use block::BlockDevice;
use devices::ahci::{Ahci, AhciParts, SataDrive};
use devices::floppy::{Floppy, FloppyParts};
use devices::ide::{Drive, Ide};
use devices::isa_dma::{DmaChannel, IsaDma};
use devices::nvme::Nvme;
use devices::pc::{I440fx, Piix3, PirqRouter, SEGMENTS, Shadow, ShadowMap};
use devices::pci::PciFunction;
use devices::pflash::{FlashMemory, Pflash};
use devices::testing::{FakeClock, FakeLine, FakeMsi, FakeTimer};
use devices::virtio::{RateGate, RateLimit};
use devices::{Device, DeviceState, Line, Pace, RemovableDrive};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use crate::Input;
use crate::devices::forge;
use crate::disk::MemoryDisk;

const RAM: u64 = 0x2_0000;
const LARGEST_STATE: usize = 1 << 18;

pub(crate) fn disk() -> Arc<dyn BlockDevice> {
    Arc::new(MemoryDisk::new(0x4_0000))
}

fn ide(memory: &GuestMemory) -> Ide {
    let disk_of = |serial: &str| {
        Some(Drive::Disk {
            disk: disk(),
            serial: serial.to_owned(),
        })
    };
    let drives = [
        disk_of(""),
        disk_of("x"),
        Some(Drive::Cd(Some(disk()))),
        None,
    ];
    let lines = [0, 1].map(|_| FakeLine::new() as Arc<dyn Line>);
    Ide::new(drives, lines, memory)
}

/// What was saved is taken back, and what others saved is refused or survived.
pub(crate) fn states(function: &mut dyn PciFunction, input: &mut Input<'_>) {
    let saved = function.save();
    assert!(saved.bytes.len() < LARGEST_STATE);
    assert_eq!(function.restore(&saved), Ok(()));
    function.resume();
    if input.bool() {
        // Its threads have gone on meanwhile.
        function.quiesce();
        let saved = function.save();
        let mut forged: DeviceState = saved.clone();
        forge(&mut forged.bytes, input);
        if function.restore(&forged).is_err() {
            assert_eq!(function.save(), saved, "a refused state left something");
        }
        function.resume();
    }
}

pub(crate) fn disk_controller(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let mut ide = ide(&memory);
    let mut ports = ide.ports();
    ide.config_write(0x04, 2, 7);
    while !input.is_empty() {
        let what = input.byte();
        let size = [1, 2, 4, 2][usize::from(what >> 6)];
        let channel = u64::from(what >> 4 & 1) * 0x10;
        let value = u64::from(input.byte());
        match what & 15 {
            0..=3 => ports.write(channel + u64::from(what & 3) + 1, 1, value),
            4 => ports.write(channel + 4 + (value & 1), 1, u64::from(input.byte())),
            5 => ports.write(channel + 6, 1, value),
            6 | 7 => {
                let command = input.choose(&[
                    0x20, 0x30, 0xa0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0x25, 0x35, 0xec,
                ]);
                let any = if value == 0 { input.byte() } else { command };
                ports.write(channel + 7, 1, any.into());
            }
            8 => {
                for _ in 0..value {
                    ports.write(channel, size, u64::from(input.byte()));
                }
            }
            9 => {
                for _ in 0..value * 4 {
                    ports.read(channel, size);
                }
            }
            10 => {
                ports.read(channel + (value & 15), size);
                ide.bar_read(4, value & 15, 1);
            }
            11 => ide.bar_write(4, value & 15, 1, u64::from(input.byte())),
            12 => {
                let entry = [input.u32() & 0x1_ffff, input.u32()];
                let at = GuestAddress(value * 8);
                let _ = memory.ram().write_obj(entry, at);
            }
            13 => states(&mut ide, &mut input),
            14 => ide.change_disc(1, 0, (value & 1 != 0).then(disk)),
            _ => ports.write(channel + 8, 1, value),
        }
    }
}

/// An NVMe controller: registers and doorbells in any order, queues and lists of pages that lie anywhere.
pub(crate) fn nvme(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let (msi, line) = (FakeMsi::new(), FakeLine::new());
    let mut nvme = Nvme::new(disk(), "x", memory.clone(), msi, line);
    nvme.config_write(0x04, 2, 7);
    for (at, value) in [
        (0x24, 0x0007_0007),
        (0x28, 0x1000),
        (0x30, 0x2000),
        (0x14, 1),
    ] {
        nvme.bar_write(0, at, 4, value);
    }
    while !input.is_empty() {
        let what = input.byte();
        let size = [4, 8, 4, 2][usize::from(what >> 6)];
        let (at, value) = (u64::from(input.byte()), u64::from(input.u32()));
        match what & 7 {
            // A command: its opcode, a namespace that there is or not, pages, and what it is about.
            0..=2 => {
                let mut command = [0; 16];
                command[0] = u32::from(input.byte() & 0x0f);
                command[1] = u32::from(input.byte() & 3);
                for index in [6, 8, 10, 11, 12] {
                    command[index] = input.u32() & 0x3_ffff;
                }
                let at = GuestAddress(0x1000 + (at & 63) * 64);
                let _ = memory.ram().write_obj(command, at);
            }
            3 | 4 => nvme.bar_write(0, 0x1000 + (at & 15) * 4, 4, value & 15),
            5 => nvme.bar_write(0, at & 0x3c, size, value),
            6 => {
                nvme.bar_read(0, (at * 64) & 0x3ff8, size);
                nvme.bar_write(0, 0x2000 + at, 4, value);
            }
            _ => states(&mut nvme, &mut input),
        }
    }
}

/// What the alarm and the gate of a device do in a target: nothing, or everything.
pub(crate) fn pace(slow: bool) -> (Pace, RateGate) {
    let gate = RateGate::default();
    if slow {
        gate.set(RateLimit {
            bytes: NonZeroU64::new(4096),
            operations: None,
        });
    }
    let alarm = FakeTimer::new();
    (Pace::new(gate.clone(), FakeClock::new(), alarm), gate)
}

/// Where a port's list and its tables are.
const LIST: u64 = 0x1000;
const TABLES: u64 = 0x2000;

/// A command with its table, and the doorbell.
fn ahci_command(
    ahci: &mut Ahci,
    memory: &GuestMemory,
    input: &mut Input<'_>,
    port: u64,
    (slot, value): (u64, u32),
) {
    let table = TABLES + slot * 0x100;
    let entries = value & 7;
    let header = [entries << 16 | value >> 16 & 0xff | 5, 0, table as u32, 0];
    let _ = memory
        .ram()
        .write_obj(header, GuestAddress(LIST + slot * 32));
    let mut frame = [0; 20];
    frame[0] = if input.byte() > 4 { 0x27 } else { input.byte() };
    frame[1] = if input.byte() > 9 { 0x80 } else { 0 };
    frame[2] = input.choose(&[
        0x20, 0x24, 0x25, 0x30, 0x35, 0x3d, 0x06, 0x2f, 0x60, 0x61, 0xa0, 0xa1, 0xc8, 0xca, 0xec,
        0xc4, 0xc6, 0xe7, 0x90,
    ]);
    for byte in &mut frame[3..16] {
        *byte = if input.bool() { 0 } else { input.byte() };
    }
    let _ = memory.ram().write_obj(frame, GuestAddress(table));
    let mut packet = [0; 12];
    packet[0] = input.choose(&[0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x4a, 0xa8]);
    for byte in &mut packet[1..] {
        *byte = input.byte() & 0x13;
    }
    let _ = memory.ram().write_obj(packet, GuestAddress(table + 0x40));
    for entry in 0..u64::from(entries) {
        let region = [input.u32() & 0x2_ffff, 0, 0, input.u32() & 0xffff];
        let _ = memory
            .ram()
            .write_obj(region, GuestAddress(table + 0x80 + entry * 16));
    }
    ahci.bar_write(5, port + 0x34, 4, 1 << slot);
    ahci.bar_write(5, port + 0x38, 4, 1 << slot);
}

/// An AHCI controller with a disk and a CD-ROM drive: registers in any order, lists, tables and regions that lie
/// anywhere, discs that are changed, alarms that come whenever they like.
pub(crate) fn ahci(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let drives = vec![
        SataDrive::Disk {
            disk: disk(),
            serial: "x".into(),
        },
        SataDrive::Cd(Some(disk())),
    ];
    let (pace, gate) = pace(input.bool());
    let mut ahci = Ahci::new(
        drives,
        AhciParts {
            memory: memory.clone(),
            msi: FakeMsi::new(),
            line: FakeLine::new(),
            pace,
            trays: FakeLine::new(),
        },
    );
    let tray = ahci.tray(1).expect("a drive");
    ahci.config_write(0x04, 2, 7);
    for port in [0x100, 0x180] {
        for (at, value) in [
            (0x00, LIST),
            (0x08, 0x800),
            (0x14, 0xffff_ffff),
            (0x18, 0x11),
        ] {
            ahci.bar_write(5, port + at, 4, value);
        }
    }
    while !input.is_empty() {
        let what = input.byte();
        let port = 0x100 + u64::from(what >> 7) * 0x80;
        let (at, value) = (u64::from(input.byte()), input.u32());
        match what & 15 {
            0..=4 => ahci_command(&mut ahci, &memory, &mut input, port, (at & 31, value)),
            5 | 6 => ahci.bar_write(5, port + (at & 0x7c), 4, value.into()),
            7 => ahci.bar_write(5, port + 0x18, 4, u64::from(value & 0x1f)),
            8 => ahci.bar_write(5, at & 0x3c, 8, value.into()),
            9 => {
                ahci.bar_read(5, port + at, [1, 2, 4, 8][usize::from(what >> 5 & 3)]);
            }
            10 => states(&mut ahci, &mut input),
            11 => ahci.expire(),
            12 => {
                ahci.quiesce();
                ahci.resume();
            }
            13 => {
                tray.open(value & 1 != 0);
                tray.change((value & 2 != 0).then(disk));
                tray.close();
            }
            14 => gate.set(RateLimit::default()),
            _ => ahci.config_write(at as u16 & 0xfe, 2, value & 0xffff),
        }
    }
}

#[derive(Debug)]
struct NoMemory;

impl ShadowMap for NoMemory {
    fn set(&self, _shadows: &[Shadow; SEGMENTS.len()]) {}
}

pub(crate) fn chipset(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let irqs = (0..16).map(|_| FakeLine::new() as Arc<dyn Line>);
    let router = PirqRouter::new(irqs.collect());
    let wires = router.wires().map(|wire| wire.input());
    let mut bridge = I440fx::new(Arc::new(NoMemory));
    let mut isa = Piix3::new(router);
    while !input.is_empty() {
        let what = input.byte();
        let size = [1, 2, 4, 1][usize::from(what >> 6)];
        let (offset, value) = (u16::from(input.byte()), input.u32());
        match what & 7 {
            0 | 1 => bridge.config_write(offset, size, value),
            2 | 3 => isa.config_write(offset, size, value),
            4 => wires[usize::from(offset & 3)].set(value & 1 != 0),
            5 => states(&mut bridge, &mut input),
            6 => states(&mut isa, &mut input),
            _ => {
                bridge.config_read(offset, size);
                isa.reset();
            }
        }
    }
}

/// A controller whose DMA has been programmed once for all, to read, to a part of RAM.
pub(crate) fn floppy() -> Floppy {
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let mut dma = IsaDma::new();
    for (port, value) in [
        (0x04, 0),
        (0x04, 0x10),
        (0x05, 0xff),
        (0x05, 0xff),
        (0x0b, 0x56),
        (0x0a, 2),
    ] {
        dma.write(port, 1, value);
    }
    let parts = FloppyParts {
        irq: FakeLine::new(),
        dma: DmaChannel::new(Arc::new(Mutex::new(dma)), 2, memory),
    };
    Floppy::new(Some(disk()), parts)
}

#[derive(Debug)]
struct Nothing;

impl FlashMemory for Nothing {
    fn show(&self, _memory: bool) {}

    fn read(&self, _offset: u64, into: &mut [u8]) {
        into.fill(0);
    }

    fn write(&self, offset: u64, _bytes: &[u8]) -> bool {
        offset & 1 == 0
    }
}

pub(crate) fn flash() -> Pflash {
    Pflash::new(0x2000, Arc::new(Nothing))
}
