//! The chipset that firmware of the PC's knows.

use std::sync::Arc;

use devices::Line;
use devices::pc::{I440fx, Piix3, Piix4Pm, PirqRouter, SEGMENTS, Shadow, ShadowMap};
use devices::testing::FakeLine;

use crate::Entry;
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
