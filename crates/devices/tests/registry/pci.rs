//! The PCI bus and what is on it.

use std::io;
use std::sync::{Arc, Mutex};

use block::BlockDevice;
use devices::pci::{COMMAND, ConfigPorts, HostBridge, PciFunction, PciRoot, PciWindows};
use devices::testing::{FakeClock, FakeLine, FakeLines, FakeMsi};
use devices::vga::{Face, Vga, VgaFunction};
use devices::virtio::{
    Balloon, Block, BlockOptions, Console, Fs, Gpu, HotplugMemory, Keyboard, Net, NetOptions, Port,
    Rng, RngLimit, Tablet, VirtioDevice, VirtioPci, Vsock, VsockOptions,
};
use devices::{Device, DeviceState, RestoreError};
use folder::{Folder, FolderOptions};
use memory::{Gpa, GuestMemory, RamRange};
use netio::Hub;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Entry;

/// A screen and what points at it.
fn seat() -> Vec<Entry> {
    vec![
        Entry {
            kind: "vga",
            make: vga,
            change: |device| {
                device.write(COMMAND.into(), 2, 3);
                // A byte of video memory.
                device.write(REGION + 0x1234, 1, 5);
            },
        },
        Entry {
            kind: "virtio-gpu",
            make: gpu,
            change: |device| {
                device.write(COMMAND.into(), 2, 6);
                // A byte of its frame buffer.
                device.write(REGION + 5, 1, 7);
            },
        },
        Entry {
            kind: "virtio-tablet",
            make: || virtio(Tablet::new().unwrap()),
            change: start_driver,
        },
        Entry {
            kind: "virtio-keyboard",
            make: || virtio(Keyboard::new().unwrap()),
            change: start_driver,
        },
    ]
}

pub(crate) fn entries() -> Vec<Entry> {
    let mut all = seat();
    all.extend(others());
    all
}

fn others() -> Vec<Entry> {
    vec![
        Entry {
            kind: "pci-host-bridge",
            make: || Box::new(Function(HostBridge::new())),
            change: |device| {
                // The bridge has nothing to change but its command and interrupt line.
                device.write(COMMAND.into(), 2, 6);
                device.write(0x3c, 1, 0x0b);
            },
        },
        Entry {
            kind: "pci-root",
            make: || {
                let windows = PciWindows {
                    memory32: 0xc000_0000..0xe000_0000,
                    memory64: None,
                    io: 0xc000..0xd000,
                };
                Box::new(ConfigPorts::new(PciRoot::new(windows), FakeLines::new()))
            },
            change: |device| {
                device.write(0, 4, 0x8000_003c);
                device.write(4, 1, 0x0a);
                device.write(1, 1, 0x02);
            },
        },
        Entry {
            kind: "virtio-balloon",
            make: || virtio(Balloon::new(memory())),
            change: |device| {
                start_driver(device);
                // Two pages are in it.
                device.write(REGION + 0x2004, 4, 2);
            },
        },
        Entry {
            kind: "virtio-block",
            make: || virtio(Block::new(Arc::new(EmptyDisk), &BlockOptions::default())),
            change: start_driver,
        },
        Entry {
            kind: "virtio-console",
            make: || virtio(Console::new(vec![Port::console(Box::new(io::sink()))])),
            change: start_driver,
        },
        Entry {
            kind: "virtio-fs",
            make: || {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = openat(CWD, std::env::temp_dir(), flags, Mode::empty()).unwrap();
                let folder = Folder::new(root, FolderOptions::default());
                virtio(Fs::new(folder, "src"))
            },
            change: start_driver,
        },
        Entry {
            kind: "virtio-mem",
            make: || virtio(HotplugMemory::new(memory(), region())),
            change: start_driver,
        },
        Entry {
            kind: "virtio-net",
            make: || {
                let link = Hub::new().plug().unwrap();
                let options = NetOptions {
                    mac: [2, 0, 0, 0, 0, 1],
                    pairs: 2,
                };
                virtio(Net::new(vec![Box::new(link)], &options))
            },
            change: start_driver,
        },
        Entry {
            kind: "virtio-rng",
            make: || virtio(Rng::new(RngLimit::default())),
            change: start_driver,
        },
        Entry {
            kind: "virtio-vsock",
            make: || {
                let options = VsockOptions {
                    cid: 3,
                    listener: None,
                    outward: None,
                };
                virtio(Vsock::new(options).unwrap())
            },
            change: start_driver,
        },
    ]
}

/// Where [`Function`] shows region 0.
pub(crate) const REGION: u64 = 0x1000;

/// A PCI function as a device: its configuration space, and behind it region 0.
#[derive(Debug)]
pub(crate) struct Function<F>(pub(crate) F);

impl<F: PciFunction> Device for Function<F> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        match u16::try_from(offset) {
            Ok(offset) if u64::from(offset) < REGION => self.0.config_read(offset, size).into(),
            _ => self.0.bar_read(0, offset - REGION, size),
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match (u16::try_from(offset), u32::try_from(value)) {
            (Ok(offset), Ok(value)) if u64::from(offset) < REGION => {
                self.0.config_write(offset, size, value);
            }
            _ => self.0.bar_write(0, offset - REGION, size, value),
        }
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn save(&self) -> DeviceState {
        self.0.save()
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.0.restore(state)
    }
}

pub(crate) fn memory() -> GuestMemory {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    GuestMemory::new(&[ram]).unwrap()
}

fn region() -> RamRange {
    RamRange {
        base: Gpa(0x1_0000_0000),
        len: 16 << 20,
    }
}

fn vga() -> Box<dyn Device> {
    let vram = memory().add_device_memory(1 << 20).unwrap();
    let vga = Vga::new(vram, FakeClock::at_wall(0), (1024, 768));
    let function = VgaFunction::new(Arc::new(Mutex::new(vga)), Vec::new());
    Box::new(Function(function.unwrap()))
}

fn gpu() -> Box<dyn Device> {
    let memory = memory();
    let vram = memory.add_device_memory(1 << 20).unwrap();
    let vga = Vga::new(vram, FakeClock::at_wall(0), (1024, 768));
    let face = Face::new(Arc::new(Mutex::new(vga)), Vec::new()).unwrap();
    virtio(Gpu::new(memory, (1024, 768), Some(face)).unwrap())
}

pub(crate) fn virtio(device: impl VirtioDevice + 'static) -> Box<dyn Device> {
    let function = VirtioPci::new(device, memory(), FakeMsi::new(), FakeLine::new());
    Box::new(Function(function.unwrap()))
}

/// As far as a driver comes without queues: bus mastering on, device acknowledged, features chosen.
pub(crate) fn start_driver(device: &mut dyn Device) {
    // Offsets in the common configuration. Spec: VIRTIO 1.2, "Common configuration structure layout".
    const DRIVER_FEATURE_SELECT: u64 = 0x08;
    const DRIVER_FEATURE: u64 = 0x0c;
    const DEVICE_STATUS: u64 = 0x14;
    const QUEUE_SIZE: u64 = 0x18;
    const QUEUE_DESCRIPTORS: u64 = 0x20;
    device.write(COMMAND.into(), 2, 6);
    for status in [1, 3] {
        device.write(REGION + DEVICE_STATUS, 1, status);
    }
    device.write(REGION + DRIVER_FEATURE_SELECT, 4, 1);
    device.write(REGION + DRIVER_FEATURE, 4, 1);
    device.write(REGION + DEVICE_STATUS, 1, 11);
    device.write(REGION + QUEUE_SIZE, 2, 8);
    device.write(REGION + QUEUE_DESCRIPTORS, 4, 0x1000);
}

/// A disk that nobody reads.
#[derive(Debug)]
struct EmptyDisk;

impl BlockDevice for EmptyDisk {
    fn len(&self) -> u64 {
        0
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
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
        "nothing".to_owned()
    }
}
