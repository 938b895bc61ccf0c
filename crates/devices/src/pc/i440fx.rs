//! The host bridge of an i440FX: what the addresses from 0xC0000 to 1 MiB show, besides being a function.
//! Spec: Intel 82441FX (PMC) datasheet, "PAM[6:0]: Programmable Attribute Map Registers" and "SMRAM".

use std::fmt::Debug;
use std::sync::Arc;

use super::{INTEL, SUBSYSTEM, SUBSYSTEM_VENDOR, restore, save};
use crate::pci::{ConfigSpace, Identity, PciFunction};
use crate::{DeviceState, RestoreError};

const KIND: &str = "i440fx";
const VERSION: u16 = 1;

const IDENTITY: Identity = Identity {
    vendor: INTEL,
    device: 0x1237,
    subsystem_vendor: SUBSYSTEM_VENDOR,
    subsystem: SUBSYSTEM,
    class: 0x06_00_00,
    revision: 2,
};

const PAM: u8 = 0x59;
const PAM_COUNT: usize = 7;
/// Read enable, write enable, of the lower and of the upper half of a register.
const PAM_BITS: u8 = 0x33;
const SMRAM: u8 = 0x72;
/// System management RAM is never decoded, so it counts as closed and locked.
const SMRAM_CLOSED: u8 = 0x02;

/// A part of the area: its first address and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub first: u32,
    pub len: u32,
}

/// All parts: 16 KiB each from 0xC0000, and the last 64 KiB.
pub const SEGMENTS: [Segment; 13] = {
    let mut segments = [Segment {
        first: 0xf_0000,
        len: 0x1_0000,
    }; 13];
    let (mut index, mut first) = (0, 0xc_0000);
    while index < 12 {
        segments[index] = Segment { first, len: 0x4000 };
        index += 1;
        first += 0x4000;
    }
    segments
};

/// Where accesses to a segment go: to RAM, or to what is behind on the bus, which is firmware's ROM.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Shadow {
    pub read_ram: bool,
    pub write_ram: bool,
}

/// Who can make segments show one or the other.
pub trait ShadowMap: Send + Sync + Debug {
    /// As index into [`SEGMENTS`], for each.
    fn set(&self, shadows: &[Shadow; SEGMENTS.len()]);
}

#[derive(Debug)]
pub struct I440fx {
    config: ConfigSpace,
    map: Arc<dyn ShadowMap>,
    shown: [Shadow; SEGMENTS.len()],
}

impl I440fx {
    /// As after a reset: everything is ROM.
    #[must_use]
    pub fn new(map: Arc<dyn ShadowMap>) -> I440fx {
        let mut writable = [PAM_BITS; PAM_COUNT];
        // The lower half of the first register is not there.
        writable[0] = 0x30;
        let config = ConfigSpace::new(&IDENTITY)
            .with_register(PAM, &[0; PAM_COUNT], &writable)
            .with_register(SMRAM, &[SMRAM_CLOSED], &[0]);
        let bridge = I440fx {
            config,
            map,
            shown: Default::default(),
        };
        bridge.map.set(&bridge.shown);
        bridge
    }

    fn shadows(&self) -> [Shadow; SEGMENTS.len()] {
        let registers = (PAM..).take(PAM_COUNT).map(|at| self.config.byte(at));
        let mut halves = registers.flat_map(|bits| [bits & 0xf, bits >> 4]);
        // The first half is not there, the second is that of the last segment.
        let last = halves.nth(1);
        let mut of = || halves.next().or(last).unwrap_or_default();
        std::array::from_fn(|_| {
            let bits = of();
            Shadow {
                read_ram: bits & 1 != 0,
                write_ram: bits & 2 != 0,
            }
        })
    }

    fn show(&mut self) {
        let shadows = self.shadows();
        if shadows != self.shown {
            self.shown = shadows;
            self.map.set(&shadows);
        }
    }
}

impl PciFunction for I440fx {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        self.show();
    }

    fn reset(&mut self) {
        self.config.reset();
        self.show();
    }

    fn save(&self) -> DeviceState {
        save(KIND, VERSION, &self.config)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        restore(KIND, VERSION, &mut self.config, state)?;
        self.show();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
