//! Sound cards.

use std::sync::{Arc, Mutex};

use devices::isa_dma::IsaDma;
use devices::pci::COMMAND;
use devices::sound::{Ac97, Ac97Parts, Sb16, Sb16Parts};
use devices::testing::{FakeClock, FakeLine, FakeTimer};
use devices::virtio::Sound;

use crate::Entry;
use crate::legacy::writes;
use crate::pci::{Function, REGION, memory, start_driver, virtio};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            kind: "ac97",
            make: || {
                Box::new(Function(Ac97::new(Ac97Parts {
                    memory: memory(),
                    clock: FakeClock::new(),
                    timer: FakeTimer::new(),
                    line: FakeLine::new(),
                    output: None,
                })))
            },
            change: |device| {
                device.write(COMMAND.into(), 2, 5);
                // Volume, a rate of its own.
                for (register, value) in [(0x02, 0x0404), (0x2a, 1), (0x2c, 22_050)] {
                    device.write(REGION + register, 2, value);
                }
            },
        },
        Entry {
            kind: "sb16",
            make: || {
                Box::new(Sb16::new(Sb16Parts {
                    memory: memory(),
                    dma: Arc::new(Mutex::new(IsaDma::new())),
                    clock: FakeClock::new(),
                    timer: FakeTimer::new(),
                    irqs: std::array::from_fn(|_| FakeLine::new() as _),
                    output: None,
                }))
            },
            change: |device| {
                // Another interrupt, a volume; an answer, a block of words, half a command.
                writes(device, &[(4, 0x80), (5, 4), (4, 0x22), (5, 0x3c)]);
                for byte in [
                    0xe1, 0xd1, 0x40, 0x83, 0xb6, 0x30, 0xff, 0x01, 0xf3, 0xc6, 0x20,
                ] {
                    device.write(0xc, 1, byte);
                }
            },
        },
        Entry {
            kind: "virtio-sound",
            make: || virtio(Sound::new(FakeClock::new(), None)),
            change: start_driver,
        },
    ]
}
