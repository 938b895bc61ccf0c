//! Processors that come and go: the registers behind the ACPI device that the DSDT describes.
//! Spec: ACPI, "Processor Devices and Performance States", "Device Insertion, Removal, and Status Objects".
//! What the registers are is between this file and the DSDT: no specification has them.
//!
//! The guest selects a processor and sees whether it is there, has come, or shall go. A processor that
//! shall go is there until the guest has ejected it. Each has a line, high while it is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, PortRange, RestoreError, decode_state, encode_state};

pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x660,
    count: 8,
    offset: 0,
}];

/// The index of the processor that [`FLAGS`] is about, 32 bits.
pub const SELECT: u64 = 0;
pub const FLAGS: u64 = 4;
/// It is there.
pub const PRESENT: u8 = 1 << 0;
/// It has come, and the guest has not seen it; written, it has.
pub const COMES: u8 = 1 << 1;
/// It shall go, and the guest has not heard of it; written, it has.
pub const GOES: u8 = 1 << 2;
/// Written: the guest has let go of it.
pub const EJECT: u8 = 1 << 3;

const KIND: &str = "acpi-cpus";
const VERSION: u16 = 1;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AcpiCpusStateV1 {
    selected: u32,
    /// The flags of each processor.
    processors: Vec<u8>,
}

/// What the device is wired to.
#[derive(Debug, Clone)]
pub struct AcpiCpusParts {
    /// One for each processor that there can be.
    pub presence: Vec<Arc<dyn Line>>,
    /// A general-purpose event: something is to be looked at.
    pub event: Arc<dyn Line>,
}

#[derive(Debug)]
pub struct AcpiCpus {
    state: AcpiCpusStateV1,
    parts: AcpiCpusParts,
}

impl AcpiCpus {
    /// The first `present` processors are there.
    #[must_use]
    pub fn new(present: usize, parts: AcpiCpusParts) -> AcpiCpus {
        let flags = |index| if index < present { PRESENT } else { 0 };
        let processors = (0..parts.presence.len()).map(flags).collect();
        let device = AcpiCpus {
            state: AcpiCpusStateV1 {
                selected: 0,
                processors,
            },
            parts,
        };
        device.drive();
        device
    }

    /// Which processors are there.
    #[must_use]
    pub fn present(&self) -> Vec<bool> {
        let all = self.state.processors.iter();
        all.map(|flags| flags & PRESENT != 0).collect()
    }

    /// The first `count` processors shall be there, and no others. The guest does its part when it comes
    /// to it.
    pub fn want(&mut self, count: usize) {
        let before = self.state.processors.clone();
        for (index, flags) in self.state.processors.iter_mut().enumerate() {
            let wanted = index < count.max(1);
            match (*flags & PRESENT != 0, wanted) {
                (false, true) => *flags = PRESENT | COMES,
                (true, false) => *flags |= GOES,
                // What the guest was not told of yet it need not hear.
                (true, true) => *flags &= !GOES,
                (false, false) => {}
            }
        }
        if self.state.processors != before {
            self.drive();
            self.parts.event.set(true);
            self.parts.event.set(false);
        }
    }

    /// Shows on each line whether its processor is there.
    fn drive(&self) {
        for (flags, line) in self.state.processors.iter().zip(&self.parts.presence) {
            line.set(flags & PRESENT != 0);
        }
    }

    fn selected(&mut self) -> Option<&mut u8> {
        let index = usize::try_from(self.state.selected).ok()?;
        self.state.processors.get_mut(index)
    }

    fn write_flags(&mut self, value: u8) {
        let first = self.state.selected == 0;
        let Some(flags) = self.selected() else {
            return;
        };
        *flags &= !(value & (COMES | GOES));
        // The processor that the machine starts with stays.
        if value & EJECT != 0 && !first {
            *flags = 0;
            self.drive();
        }
    }
}

impl Device for AcpiCpus {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let selected = self.state.selected.to_le_bytes();
        let flags = self.selected().map_or(0, |flags| *flags);
        read_bytes(offset, size, |at| match at {
            SELECT..FLAGS => selected[usize::try_from(at).unwrap_or(0) % selected.len()],
            FLAGS => flags,
            _ => 0,
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| match at {
            SELECT..FLAGS => {
                let mut selected = self.state.selected.to_le_bytes();
                selected[usize::try_from(at).unwrap_or(0) % 4] = byte;
                self.state.selected = u32::from_le_bytes(selected);
            }
            FLAGS => self.write_flags(byte),
            _ => {}
        });
    }

    /// The processors that are there stay, and the guest finds them in its tables.
    fn reset(&mut self) {
        self.state.selected = 0;
        for flags in &mut self.state.processors {
            *flags &= PRESENT;
        }
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let saved: AcpiCpusStateV1 = decode_state(KIND, VERSION, state)?;
        let known = PRESENT | COMES | GOES;
        let possible = saved.processors.iter().all(|flags| flags & !known == 0)
            && saved
                .processors
                .first()
                .is_none_or(|flags| flags & PRESENT != 0);
        if saved.processors.len() != self.state.processors.len() || !possible {
            return Err(RestoreError::Damaged {
                kind: KIND.into(),
                what: "impossible processors, or another number of them".into(),
            });
        }
        self.state = saved;
        self.drive();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
