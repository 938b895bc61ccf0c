//! PCI slots whose devices come and go: the registers behind the ACPI devices that the DSDT describes.
//! Spec: ACPI, "Device Insertion, Removal, and Status Objects"; PCI Firmware Specification, "Hot-Plug".
//! What the registers are is between this file and the DSDT: no specification has them.
//!
//! Each register has a bit for each slot. A device that has come is on the bus before the guest is told.
//! One that shall go is there until the guest has ejected its slot, which it may do without having been
//! asked.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, PortRange, RestoreError, decode_state, encode_state};

pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x670,
    count: 12,
    offset: 0,
}];

/// A device has come, and the guest has not seen it; written, it has.
pub const COMES: u64 = 0;
/// A device shall go, and the guest has not heard of it; written, it has.
pub const GOES: u64 = 4;
/// Written: the guest has let go of the device. Reads as zero.
pub const EJECT: u64 = 8;

const KIND: &str = "acpi-slots";
const VERSION: u16 = 1;
const SLOTS: u8 = 32;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AcpiSlotsStateV1 {
    comes: u32,
    goes: u32,
    /// Shall go, whether the guest has heard of it or not.
    asked: u32,
}

/// Who takes out what a guest has let go of.
pub trait Ejector: Debug + Send + Sync {
    /// A bit for each slot. There may be nothing in it, or what cannot be taken out.
    fn eject(&self, slots: u32);
}

/// What the device is wired to.
#[derive(Debug, Clone)]
pub struct AcpiSlotsParts {
    pub ejector: Arc<dyn Ejector>,
    /// A general-purpose event: something is to be looked at.
    pub event: Arc<dyn Line>,
}

#[derive(Debug)]
pub struct AcpiSlots {
    state: AcpiSlotsStateV1,
    parts: AcpiSlotsParts,
}

/// None for a slot that there cannot be.
fn bit(slot: u8) -> u32 {
    if slot < SLOTS { 1 << slot } else { 0 }
}

/// `register` with its byte at `index` replaced.
fn byte_cleared(register: &mut u32, index: u64, ones: u8) {
    *register &= !(u32::from(ones) << (8 * (index % 4)));
}

impl AcpiSlots {
    #[must_use]
    pub fn new(parts: AcpiSlotsParts) -> AcpiSlots {
        AcpiSlots {
            state: AcpiSlotsStateV1::default(),
            parts,
        }
    }

    /// A device has been put into this slot.
    pub fn comes(&mut self, slot: u8) {
        self.state.comes |= bit(slot);
        self.tell();
    }

    /// The guest shall let go of what is in this slot. It may be asked again and again.
    pub fn ask(&mut self, slot: u8) {
        self.state.asked |= bit(slot);
        self.state.goes |= bit(slot);
        self.tell();
    }

    /// Nothing is in these slots any more.
    pub fn gone(&mut self, slots: u32) {
        self.state.comes &= !slots;
        self.state.goes &= !slots;
        self.state.asked &= !slots;
    }

    /// Of which slots the guest was asked to let go, and has not.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.state.asked
    }

    fn tell(&self) {
        self.parts.event.set(true);
        self.parts.event.set(false);
    }
}

impl Device for AcpiSlots {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let (comes, goes) = (self.state.comes, self.state.goes);
        read_bytes(offset, size, |at| {
            let register = match at {
                COMES..GOES => comes,
                GOES..EJECT => goes,
                _ => 0,
            };
            register.to_le_bytes()[usize::try_from(at % 4).unwrap_or(0)]
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        let mut ejected = 0;
        write_bytes(offset, size, value, |at, byte| match at {
            COMES..GOES => byte_cleared(&mut self.state.comes, at, byte),
            GOES..EJECT => byte_cleared(&mut self.state.goes, at, byte),
            _ => ejected |= u32::from(byte) << (8 * (at % 4)),
        });
        if ejected != 0 {
            self.parts.ejector.eject(ejected);
        }
    }

    /// A guest that starts anew finds what is there. What was to go has no user any more, and goes.
    fn reset(&mut self) {
        let asked = self.state.asked;
        self.state = AcpiSlotsStateV1 {
            asked,
            ..AcpiSlotsStateV1::default()
        };
        if asked != 0 {
            self.parts.ejector.eject(asked);
        }
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_state(KIND, VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
