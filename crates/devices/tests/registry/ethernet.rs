//! Network cards of the old world.

use devices::ethernet::{CardOptions, E1000Card, Rtl8139Card};
use devices::pci::{COMMAND, OptionRom};
use devices::testing::FakeLine;
use devices::virtio::net::Gates;
use netio::Hub;

use crate::Entry;
use crate::pci::{Function, REGION, memory};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            kind: "e1000",
            make: || {
                let card = E1000Card::new(options(), memory(), FakeLine::new());
                Box::new(Function(card.unwrap()))
            },
            change: |device| {
                device.write(COMMAND.into(), 2, 6);
                // Receive control, the rings, a filter, the first bits of a word of the EEPROM.
                for (register, value) in [
                    (0x0100, 0x8002),
                    (0x2800, 0x1000),
                    (0x2808, 0x100),
                    (0x2818, 7),
                    (0x00d0, 0x85),
                    (0x5204, 0x5555),
                    (0x0010, 6),
                    (0x0010, 7),
                ] {
                    device.write(REGION + register, 4, value);
                }
            },
        },
        Entry {
            kind: "rtl8139",
            make: || {
                let card = Rtl8139Card::new(options(), memory(), FakeLine::new());
                Box::new(Function(card.unwrap()))
            },
            change: |device| {
                device.write(COMMAND.into(), 2, 7);
                for (register, value) in [(0x30, 0x1000), (0x44, 0x0e), (0x3c, 5), (0x08, 0x77)] {
                    device.write(REGION + register, 4, value);
                }
                device.write(REGION + 0x37, 1, 0x0c);
            },
        },
    ]
}

fn options() -> CardOptions {
    CardOptions {
        mac: [2, 0, 0, 0, 0, 1],
        link: Box::new(Hub::new().plug().unwrap()),
        gates: Gates::default(),
        rom: OptionRom::default(),
    }
}
