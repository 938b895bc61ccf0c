//! The chipset that firmware of the PC's knows.

use std::io;
use std::sync::{Arc, Mutex};

use block::BlockDevice;
use devices::ahci::{Ahci, AhciParts, SataDrive};
use devices::floppy::{Floppy, FloppyParts};
use devices::ide::{Drive, Ide, IdePorts};
use devices::isa_dma::{DmaChannel, IsaDma};
use devices::nvme::Nvme;
use devices::pc::{I440fx, Piix3, Piix4Pm, PirqRouter, SEGMENTS, Shadow, ShadowMap};
use devices::pflash::{FlashMemory, Pflash};
use devices::testing::{FakeLine, FakeMsi};
use devices::{Device, DeviceState, Line, Pace, RestoreError};
use memory::{Gpa, GuestMemory, RamRange};

use crate::Entry;
use crate::legacy::writes;
use crate::pci::Function;

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            kind: "i440fx",
            make: || Box::new(Function(I440fx::new(Arc::new(NoMemory)))),
            change: |device| {
                device.write(0x59, 1, 0x30);
                device.write(0x5a, 1, 0x13);
            },
        },
        Entry {
            kind: "floppy",
            make: || Box::new(floppy()),
            change: |device| {
                // A seek, and half of a command to read.
                writes(
                    device,
                    &[
                        (2, 0x1c),
                        (5, 0x0f),
                        (5, 0),
                        (5, 3),
                        (5, 0xe6),
                        (5, 0),
                        (7, 1),
                    ],
                );
            },
        },
        Entry {
            kind: "isa-dma",
            make: || Box::new(IsaDma::new()),
            change: |device| {
                let list = [
                    (4, 0x12),
                    (4, 0x34),
                    (5, 1),
                    (0x0b, 0x46),
                    (0x0a, 2),
                    (0x41, 7),
                ];
                writes(device, &list);
                writes(device, &[(0x36, 0x5a), (0x48, 9)]);
            },
        },
        Entry {
            kind: "pflash",
            make: || Box::new(Pflash::new(0x2000, Arc::new(Blank))),
            change: |device| device.write(0x10, 1, 0x20),
        },
        Entry {
            kind: "nvme",
            make: || Box::new(Function(nvme())),
            change: |device| {
                // It may reach memory, and is told where its first queues lie.
                device.write(0x04, 2, 6);
                device.write(0x10, 4, 0x8000_4004);
            },
        },
        Entry {
            kind: "ahci",
            make: || Box::new(Function(ahci())),
            change: |device| {
                device.write(0x04, 2, 6);
                device.write(0x24, 4, 0x8000_4000);
            },
        },
        Entry {
            kind: "piix3-ide",
            make: || Box::new(disk_controller()),
            change: |device| {
                device.write(0x40, 4, 0x8000_8000);
                // A disk that is read from its fifth sector on, and two bytes that were taken.
                for (offset, value) in [(2, 2), (3, 4), (6, 0xe0), (7, 0x20)] {
                    device.write(PORTS + offset, 1, value);
                }
                device.read(PORTS, 2);
                // A CD-ROM drive that awaits a command.
                device.write(PORTS + 0x17, 1, 0xa0);
            },
        },
        Entry {
            kind: "piix3",
            make: || {
                let irqs = (0..16).map(|_| FakeLine::new() as Arc<dyn Line>);
                Box::new(Function(Piix3::new(PirqRouter::new(irqs.collect()))))
            },
            change: |device| device.write(0x60, 4, 0x0b0b_0a0a),
        },
        Entry {
            kind: "piix4-pm",
            make: || Box::new(Function(Piix4Pm::new())),
            change: |device| device.write(0x58, 4, 0x0300_0001),
        },
    ]
}

/// Segments that nobody looks at.
#[derive(Debug)]
struct NoMemory;

impl ShadowMap for NoMemory {
    fn set(&self, _shadows: &[Shadow; SEGMENTS.len()]) {}
}

fn nvme() -> Nvme {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    Nvme::new(
        Arc::new(Zeroes),
        "",
        memory,
        FakeMsi::new(),
        FakeLine::new(),
    )
}

fn ahci() -> Ahci {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    let disk = SataDrive::Disk {
        disk: Arc::new(Zeroes),
        serial: String::new(),
    };
    let parts = AhciParts {
        memory: GuestMemory::new(&[ram]).unwrap(),
        msi: FakeMsi::new(),
        line: FakeLine::new(),
        pace: Pace::free(),
        trays: FakeLine::new(),
    };
    Ahci::new(vec![disk, SataDrive::Cd(None)], parts)
}

fn floppy() -> Floppy {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let dma = Arc::new(Mutex::new(IsaDma::new()));
    let parts = FloppyParts {
        irq: FakeLine::new(),
        dma: DmaChannel::new(dma, 2, memory),
    };
    Floppy::new(Some(Arc::new(Zeroes)), parts)
}

/// Flash that keeps nothing.
#[derive(Debug)]
struct Blank;

impl FlashMemory for Blank {
    fn show(&self, _memory: bool) {}

    fn read(&self, _offset: u64, into: &mut [u8]) {
        into.fill(0xff);
    }

    fn write(&self, _offset: u64, _bytes: &[u8]) -> bool {
        true
    }
}

/// Where [`DiskController`] shows the ports.
const PORTS: u64 = 0x1000;

/// The function with its ports behind its configuration space.
#[derive(Debug)]
struct DiskController {
    function: Function<Ide>,
    ports: IdePorts,
}

fn disk_controller() -> DiskController {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let disk = Drive::Disk {
        disk: Arc::new(Zeroes),
        serial: String::new(),
    };
    let drives = [Some(disk), None, Some(Drive::Cd(None)), None];
    let ide = Ide::new(drives, [FakeLine::new(), FakeLine::new()], &memory);
    DiskController {
        ports: ide.ports(),
        function: Function(ide),
    }
}

impl Device for DiskController {
    fn kind(&self) -> &'static str {
        self.function.kind()
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        match offset.checked_sub(PORTS) {
            Some(offset) => self.ports.read(offset, size),
            None => self.function.read(offset, size),
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match offset.checked_sub(PORTS) {
            Some(offset) => self.ports.write(offset, size, value),
            None => self.function.write(offset, size, value),
        }
    }

    fn reset(&mut self) {
        self.function.reset();
    }

    fn save(&self) -> DeviceState {
        self.function.save()
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.function.restore(state)
    }
}

/// A disk of zeroes.
#[derive(Debug)]
pub(crate) struct Zeroes;

impl BlockDevice for Zeroes {
    fn len(&self) -> u64 {
        1 << 20
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn write_zeroes(&self, _offset: u64, _len: u64, _unmap: bool) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn identify(&self) -> String {
        "zeroes".to_owned()
    }
}
