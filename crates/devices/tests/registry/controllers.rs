//! The interrupt controllers.

use std::sync::Arc;

use devices::acpi_cpus::{AcpiCpus, AcpiCpusParts};
use devices::acpi_slots::{AcpiSlots, AcpiSlotsParts, Ejector};
use devices::irqchip::testing::{FakeEvents, FakeTsc};
use devices::irqchip::{IoApic, LapicParts, LocalApics, Pic};
use devices::testing::{FakeClock, FakeLine, FakeMsi, FakeTimer};
use devices::{Device, DeviceState, Line, MsiSink, RestoreError, decode_state, encode_state};

use crate::Entry;
use crate::legacy::writes;

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            kind: "acpi-cpus",
            make: || {
                let presence = (0..3).map(|_| FakeLine::new() as Arc<dyn Line>);
                let parts = AcpiCpusParts {
                    presence: presence.collect(),
                    event: FakeLine::new(),
                };
                Box::new(AcpiCpus::new(2, parts))
            },
            change: |device| {
                device.write(0, 4, 1);
                // The guest lets go of the second.
                device.write(4, 1, 8);
            },
        },
        Entry {
            kind: "acpi-slots",
            make: || {
                let mut device = AcpiSlots::new(AcpiSlotsParts {
                    ejector: Arc::new(Nobody),
                    event: FakeLine::new(),
                });
                device.comes(7);
                device.ask(9);
                Box::new(device)
            },
            change: |device| {
                device.write(0, 4, 1 << 7);
                device.write(4, 4, 1 << 9);
            },
        },
        Entry {
            kind: "ioapic",
            make: || Box::new(IoApic::new(FakeMsi::new())),
            change: |device| {
                for (register, value) in [(0, 0x0700_0000), (0x15, 0x0300_0000), (0x14, 0x8951)] {
                    device.write(0, 4, register);
                    device.write(0x10, 4, value);
                }
            },
        },
        Entry {
            kind: "local-apic",
            make: || Box::new(ApicDevice::new()),
            change: |device| {
                for (offset, value) in [
                    (0xf0, 0x1ff),
                    (0x80, 0x20),
                    (0xd0, 0x0400_0000),
                    (0x3e0, 0x3),
                    (0x320, 0x2_0040),
                    (0x380, 1_000_000),
                    (0x370, 0xfe),
                    (0x300, 0x4_0005),
                    (0x1000, 0xc061),
                    (0x1000, 0x0081),
                ] {
                    device.write(offset, 4, value);
                }
            },
        },
        Entry {
            kind: "pic",
            make: || Box::new(Pic::new(FakeLine::new())),
            change: |device| {
                writes(device, &[(0, 0x11), (1, 0x30), (1, 4), (1, 3), (1, 0xaa)]);
                writes(
                    device,
                    &[(0x10, 0x11), (0x11, 0x38), (0x21, 0x0e), (0, 0xc3)],
                );
            },
        },
    ]
}

#[derive(Debug)]
struct Nobody;

impl Ejector for Nobody {
    fn eject(&self, _slots: u32) {}
}

/// A local APIC as a device: its page, and behind it at 1000h a place for MSIs by their data.
/// The machine saves it as a part of the vCPU's state.
#[derive(Debug)]
struct ApicDevice(LocalApics);

const KIND: &str = "local-apic";

impl ApicDevice {
    fn new() -> ApicDevice {
        ApicDevice(LocalApics::new(vec![LapicParts {
            clock: FakeClock::new(),
            timer: FakeTimer::new(),
            tsc: Arc::new(FakeTsc),
            events: FakeEvents::new(),
            physical_bits: 46,
            has_x2apic: true,
        }]))
    }
}

impl Device for ApicDevice {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.0.read_page(0, offset, size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        if offset == 0x1000 {
            self.0.send(0xfee0_0000, u32::try_from(value).unwrap_or(0));
        } else {
            self.0.write_page(0, offset, size, value);
        }
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, 1, &self.0.state(0))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.0.set_state(0, &decode_state(KIND, 1, state)?)
    }
}
