//! Controllers of USB, with what hangs on them.

use std::sync::Arc;

use devices::pci::PciFunction;
use devices::testing::{FakeClock, FakeLine, FakeMsi};
use devices::usb::uhci::{Uhci, UhciParts};
use devices::usb::xhci::{Xhci, XhciParts};
use devices::{Device, DeviceState, Pace, RestoreError};

use crate::Entry;
use crate::legacy::writes;
use crate::pc::Zeroes;
use crate::pci::{Function, memory};

/// Where the ports of a controller of old are, behind its configuration space.
const PORTS: u64 = 0x100;
const PORTS_BAR: u8 = 4;

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            kind: "xhci",
            make: || Box::new(Function(xhci())),
            change: |device| {
                device.write(0x04, 2, 6);
                device.write(0x10, 4, 0x8000_4004);
            },
        },
        Entry {
            kind: "uhci",
            make: || Box::new(Ports(Function(uhci()))),
            change: |device| {
                device.write(0x20, 4, 0xc041);
                device.write(0xc0, 2, 0x0010);
                // Interrupts, a frame's number, two ports that are enabled, and sleep.
                for (offset, value) in [(4, 0xf), (6, 0x3ab), (0x10, 6), (0x12, 0x1006), (0, 0x48)]
                {
                    device.write(PORTS + offset, 2, value);
                }
                // Where the list is.
                writes(device, &[(PORTS + 9, 0x40), (PORTS + 10, 0x12)]);
            },
        },
    ]
}

fn xhci() -> Xhci {
    let parts = XhciParts {
        memory: memory(),
        msi: FakeMsi::new(),
        line: FakeLine::new(),
        pace: Pace::free(),
    };
    Xhci::new(vec![(Arc::new(Zeroes) as _, String::new())], parts)
}

fn uhci() -> Uhci {
    let parts = UhciParts {
        memory: memory(),
        line: FakeLine::new(),
        pin: 4,
        clock: FakeClock::new(),
        pace: Pace::free(),
    };
    Uhci::with_hands(parts).0
}

/// A function with its registers at [`PORTS`].
#[derive(Debug)]
struct Ports<F>(Function<F>);

impl<F: PciFunction> Device for Ports<F> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        match offset.checked_sub(PORTS) {
            Some(offset) => self.0.0.bar_read(PORTS_BAR, offset, size),
            None => self.0.read(offset, size),
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match offset.checked_sub(PORTS) {
            Some(offset) => self.0.0.bar_write(PORTS_BAR, offset, size, value),
            None => self.0.write(offset, size, value),
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
