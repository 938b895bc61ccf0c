//! Sound cards.

use devices::pci::COMMAND;
use devices::sound::{Ac97, Ac97Parts};
use devices::testing::{FakeClock, FakeLine, FakeTimer};
use devices::virtio::Sound;

use crate::Entry;
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
            kind: "virtio-sound",
            make: || virtio(Sound::new(FakeClock::new(), None)),
            change: start_driver,
        },
    ]
}
