//! The devices that every PC has.

use std::io;
use std::sync::Arc;

use devices::acpi_pm::{AcpiPm, AcpiPmParts, TimerWidth};
use devices::i8042::{I8042, MouseEvent};
use devices::parallel::{Paper, Parallel};
use devices::port92::Port92;
use devices::serial::Serial;
use devices::testing::{FakeClock, FakeLine, FakeLines, FakeTimer};
use devices::timers::pit::Pit;
use devices::timers::rtc::{Rtc, RtcMemory};
use devices::{Device, DeviceState, RestoreError};

use crate::Entry;

const NOW: u64 = 123_456_789_012;
const WALL: u64 = 1_793_885_878;

fn clock() -> Arc<FakeClock> {
    let clock = FakeClock::at_wall(WALL);
    clock.set(NOW);
    clock
}

pub(crate) fn writes(device: &mut dyn Device, list: &[(u64, u64)]) {
    for &(offset, value) in list {
        device.write(offset, 1, value);
    }
}

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            kind: "acpi-pm",
            make: || {
                Box::new(AcpiPm::new(
                    TimerWidth::Bits24,
                    AcpiPmParts {
                        clock: clock(),
                        timer: FakeTimer::new(),
                        sci: FakeLine::new(),
                        lines: FakeLines::new(),
                    },
                ))
            },
            change: |device| writes(device, &[(2, 1), (3, 1), (5, 0x14), (0x22, 0x55)]),
        },
        Entry {
            kind: "i8042",
            make: || Box::new(FedI8042::new()),
            change: |device| {
                writes(
                    device,
                    &[
                        (0, 0xed),
                        (0, 7),
                        (0, 0xf3),
                        (4, 0xa8),
                        (4, 0xd4),
                        (0, 0xf4),
                    ],
                );
                writes(
                    device,
                    &[(4, 0x60), (0, 0x47), (4, 0xdd), (4, 0xd1), (0x10, 0)],
                );
            },
        },
        Entry {
            kind: "parallel",
            make: || Box::new(Parallel::new(FakeLine::new(), Paper::none())),
            // A byte was acknowledged, and nobody has looked.
            change: |device| writes(device, &[(0, 0x5a), (2, 0x1d), (2, 0x1c)]),
        },
        Entry {
            kind: "pit",
            make: || Box::new(Pit::new(clock(), FakeTimer::new(), FakeLine::new())),
            change: |device| {
                writes(
                    device,
                    &[(3, 0x34), (0, 0x9c), (0, 0x2e), (3, 0xb1), (2, 0x55)],
                );
                writes(device, &[(0x10, 3), (3, 0xc2), (0, 0x12)]);
            },
        },
        Entry {
            kind: "port92",
            make: || Box::new(Port92::new(FakeLines::new())),
            change: |device| writes(device, &[(0, 1)]),
        },
        Entry {
            kind: "rtc",
            make: || {
                let memory = RtcMemory::default();
                Box::new(Rtc::new(memory, clock(), FakeTimer::new(), FakeLine::new()))
            },
            change: |device| {
                for (register, value) in [(0x0b, 0x72), (8, 0x02), (5, 0xc0), (0x40, 9), (0x8f, 5)]
                {
                    writes(device, &[(0, register), (1, value)]);
                }
            },
        },
        Entry {
            kind: "serial",
            make: || {
                Box::new(FedSerial(Serial::new(
                    FakeLine::new(),
                    Box::new(io::sink()),
                )))
            },
            change: |device| {
                writes(
                    device,
                    &[(2, 0x41), (3, 0x83), (0, 1), (3, 0x03), (1, 0x0f)],
                );
                writes(device, &[(4, 0x0b), (7, 0x77), (0x10, 0)]);
            },
        },
    ]
}

/// A keyboard controller whose keys are pressed by a write to offset 10h.
#[derive(Debug)]
struct FedI8042(I8042);

impl FedI8042 {
    fn new() -> FedI8042 {
        FedI8042(I8042::new(
            FakeLine::new(),
            FakeLine::new(),
            FakeLines::new(),
        ))
    }
}

/// A UART whose line is fed by a write to offset 10h.
#[derive(Debug)]
struct FedSerial(Serial);

/// Forwards everything but what `feed` takes.
macro_rules! fed_device {
    ($name:ident, $feed:expr) => {
        impl Device for $name {
            fn kind(&self) -> &'static str {
                self.0.kind()
            }

            fn read(&mut self, offset: u64, size: u8) -> u64 {
                self.0.read(offset, size)
            }

            fn write(&mut self, offset: u64, size: u8, value: u64) {
                if offset == 0x10 {
                    $feed(&mut self.0);
                } else {
                    self.0.write(offset, size, value);
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
    };
}

fed_device!(FedI8042, |device: &mut I8042| {
    device.key(&[0xe0, 0xf0, 0x75]);
    device.mouse(MouseEvent {
        right: 700,
        down: -3,
        wheel: 1,
        buttons: 5,
    });
});

fed_device!(FedSerial, |device: &mut Serial| {
    device.receive(b"abc");
    device.receive_break();
});
