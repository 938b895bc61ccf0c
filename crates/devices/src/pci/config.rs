//! The configuration space of one function: a type 0 header, base address registers, capabilities.
//! Spec: PCI Local Bus Specification 3.0, "Configuration Space Organization", "Base Addresses",
//! "Capabilities List".

use serde::{Deserialize, Serialize};

/// Bytes of a conventional configuration space. Beyond, up to 4096, reads answer all-ones.
pub(crate) const SIZE: usize = 256;

pub const COMMAND: u16 = 0x04;
pub const COMMAND_IO: u16 = 1 << 0;
pub const COMMAND_MEMORY: u16 = 1 << 1;
pub const COMMAND_BUS_MASTER: u16 = 1 << 2;
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
const COMMAND_PARITY: u16 = 1 << 6;
const COMMAND_SERR: u16 = 1 << 8;

pub(crate) const STATUS: u16 = 0x06;
/// In [`STATUS`]: the function asserts its INTx line, masked or not.
pub(crate) const STATUS_INTX: u16 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;
/// Parity, abort and system error bits, cleared by writing ones.
const STATUS_CLEAR: u16 = 0xf900;

pub(crate) const HEADER_TYPE: u16 = 0x0e;
pub(crate) const BAR_0: u16 = 0x10;
/// The last base address register ends where the expansion ROM's does.
pub(crate) const BARS_END: u16 = 0x34;
const CAPABILITY_POINTER: usize = 0x34;
pub(crate) const INTERRUPT_LINE: u16 = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const FIRST_CAPABILITY: u8 = 0x40;

/// What a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub vendor: u16,
    pub device: u16,
    pub subsystem_vendor: u16,
    pub subsystem: u16,
    /// Base class, sub-class and interface: `0x06_00_00` is a host bridge.
    pub class: u32,
    pub revision: u8,
}

/// The address space of a base address register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    Memory32,
    /// Takes the next register for its upper half.
    Memory64,
    Io,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Memory,
    Io,
}

/// Where a region of a function answers now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarMapping {
    pub bar: u8,
    pub space: Space,
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) kind: BarKind,
    /// Bytes, a power of two.
    pub(crate) len: u64,
}

/// What [`BarMapping::bar`] says of the expansion ROM.
pub const EXPANSION_ROM: u8 = 6;
const EXPANSION_ROM_REGISTER: u16 = 0x30;
const EXPANSION_ROM_ENABLE: u32 = 1;

/// The saved form: all bytes as the guest reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    power_on: [u8; SIZE],
    /// Bits that the guest writes.
    writable: [u8; SIZE],
    /// Bits that the guest clears by writing ones.
    clearable: [u8; SIZE],
    bars: [Option<Bar>; 6],
    /// Bytes of the expansion ROM, a power of two.
    rom: Option<u64>,
    last_capability: usize,
    next_capability: u8,
}

impl ConfigSpace {
    #[must_use]
    pub fn new(identity: &Identity) -> ConfigSpace {
        let mut space = ConfigSpace {
            bytes: [0; SIZE],
            power_on: [0; SIZE],
            writable: [0; SIZE],
            clearable: [0; SIZE],
            bars: [None; 6],
            rom: None,
            last_capability: CAPABILITY_POINTER,
            next_capability: FIRST_CAPABILITY,
        };
        space.fix(0x00, &identity.vendor.to_le_bytes());
        space.fix(0x02, &identity.device.to_le_bytes());
        space.fix(0x08, &[identity.revision]);
        space.fix(0x09, &identity.class.to_le_bytes()[..3]);
        space.fix(0x2c, &identity.subsystem_vendor.to_le_bytes());
        space.fix(0x2e, &identity.subsystem.to_le_bytes());
        let command = COMMAND_IO
            | COMMAND_MEMORY
            | COMMAND_BUS_MASTER
            | COMMAND_PARITY
            | COMMAND_SERR
            | COMMAND_INTX_DISABLE;
        put(
            &mut space.writable,
            usize::from(COMMAND),
            &command.to_le_bytes(),
        );
        put(
            &mut space.clearable,
            usize::from(STATUS),
            &STATUS_CLEAR.to_le_bytes(),
        );
        space.writable[usize::from(INTERRUPT_LINE)] = 0xff;
        space
    }

    /// Declares base address register `index`, of `len` bytes, a power of two (at least 16 for
    /// memory, 4 for ports). A [`BarKind::Memory64`] takes `index + 1` as well.
    #[must_use]
    pub fn with_bar(mut self, index: u8, kind: BarKind, len: u64) -> ConfigSpace {
        debug_assert!(
            len.is_power_of_two() && index < 6,
            "BAR {index} of {len} bytes"
        );
        let at = usize::from(BAR_0) + usize::from(index) * 4;
        let mask = !(len - 1);
        let kind_bits: u8 = match kind {
            BarKind::Memory32 => 0b0000,
            BarKind::Memory64 => 0b0100,
            BarKind::Io => 0b0001,
        };
        self.fix(at, &[kind_bits]);
        put(&mut self.writable, at, &mask.to_le_bytes()[..4]);
        if kind == BarKind::Memory64 {
            put(&mut self.writable, at + 4, &mask.to_le_bytes()[4..]);
        }
        self.bars[usize::from(index)] = Some(Bar { kind, len });
        self
    }

    /// Declares an expansion ROM of `len` bytes, a power of two from 2 KiB up. It is read as region
    /// [`EXPANSION_ROM`] of the function.
    #[must_use]
    pub fn with_expansion_rom(mut self, len: u64) -> ConfigSpace {
        debug_assert!(len.is_power_of_two() && len >= 2048, "ROM of {len} bytes");
        let [a, b, c, d, ..] = (!(len - 1)).to_le_bytes();
        let enable = EXPANSION_ROM_ENABLE.to_le_bytes();
        let mask = [a | enable[0], b, c, d];
        put(
            &mut self.writable,
            usize::from(EXPANSION_ROM_REGISTER),
            &mask,
        );
        self.rom = Some(len);
        self
    }

    /// Where the expansion ROM answers now.
    fn rom_mapping(&self) -> Option<BarMapping> {
        let (len, register) = (self.rom?, self.read(EXPANSION_ROM_REGISTER, 4));
        let base = u64::from(register) & !(len - 1);
        let decoded = self.command() & COMMAND_MEMORY != 0 && register & EXPANSION_ROM_ENABLE != 0;
        (decoded && base != 0).then_some(BarMapping {
            bar: EXPANSION_ROM,
            space: Space::Memory,
            base,
            len,
        })
    }

    /// Declares the interrupt pin: 1 is INTA#.
    #[must_use]
    pub fn with_interrupt_pin(mut self, pin: u8) -> ConfigSpace {
        self.fix(INTERRUPT_PIN, &[pin]);
        self
    }

    /// Declares a register of the function's own, beyond the header: as it is at power-on, and which bits
    /// the guest writes. Both of one length.
    #[must_use]
    pub fn with_register(mut self, at: u8, power_on: &[u8], writable: &[u8]) -> ConfigSpace {
        debug_assert!(
            at >= FIRST_CAPABILITY && usize::from(at) + power_on.len() <= SIZE,
            "register at {at:#x}"
        );
        self.fix(usize::from(at), power_on);
        put(&mut self.writable, usize::from(at), writable);
        self
    }

    /// Marks a device with more than one function.
    #[must_use]
    pub fn with_multifunction(mut self) -> ConfigSpace {
        let kind = self.bytes[usize::from(HEADER_TYPE)] | 0x80;
        self.fix(usize::from(HEADER_TYPE), &[kind]);
        self
    }

    /// Appends a capability: `body` follows the id and next bytes, `writable` marks the guest's bits
    /// in it. Answers the capability's offset, or `None` when the space is full.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Option<u8> {
        let at = self.next_capability;
        let end = usize::from(at) + 2 + body.len();
        if end > SIZE {
            return None;
        }
        self.fix(self.last_capability, &[at]);
        self.fix(usize::from(at), &[id, 0]);
        self.fix(usize::from(at) + 2, body);
        put(&mut self.writable, usize::from(at) + 2, writable);
        self.last_capability = usize::from(at) + 1;
        // A full space ends at 256, which no further capability can begin at.
        self.next_capability = u8::try_from(end.next_multiple_of(4)).unwrap_or(u8::MAX);
        let status = self.half(STATUS) | STATUS_CAPABILITIES;
        self.fix(usize::from(STATUS), &status.to_le_bytes());
        Some(at)
    }

    /// Sets bytes as they are at power-on.
    fn fix(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.bytes, at, bytes);
        put(&mut self.power_on, at, bytes);
    }

    /// `size` is 1, 2 or 4. Across two doublewords or outside: all-ones.
    #[must_use]
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let at = usize::from(offset);
        let mut value = [0; 4];
        match self.bytes.get(at..at + usize::from(size)) {
            Some(bytes) if in_one_register(offset, size) => {
                value[..bytes.len()].copy_from_slice(bytes);
                u32::from_le_bytes(value)
            }
            _ => u32::MAX,
        }
    }

    /// A write by the guest: only its bits change.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) {
        let at = usize::from(offset);
        if !in_one_register(offset, size) || at + usize::from(size) > SIZE {
            return;
        }
        let bytes = value.to_le_bytes();
        for (index, &new) in bytes[..usize::from(size)].iter().enumerate() {
            let mask = self.writable[at + index];
            let clear = self.clearable[at + index] & new;
            let old = self.bytes[at + index];
            self.bytes[at + index] = ((old & !mask) | (new & mask)) & !clear;
        }
    }

    /// A byte as the guest reads it.
    #[must_use]
    pub fn byte(&self, at: u8) -> u8 {
        self.bytes[usize::from(at)]
    }

    #[must_use]
    pub fn command(&self) -> u16 {
        self.half(COMMAND)
    }

    fn half(&self, offset: u16) -> u16 {
        let at = usize::from(offset);
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// The declared registers: index, kind, bytes.
    pub(crate) fn bars(&self) -> impl Iterator<Item = (u8, Bar)> + '_ {
        (0u8..)
            .zip(self.bars)
            .filter_map(|(index, bar)| Some((index, bar?)))
    }

    /// The address that register `index` holds.
    pub(crate) fn bar_base(&self, index: u8, bar: Bar) -> u64 {
        let offset = BAR_0 + u16::from(index) * 4;
        let low = u64::from(self.read(offset, 4));
        match bar.kind {
            BarKind::Io => low & !0b11,
            BarKind::Memory32 => low & !0b1111,
            BarKind::Memory64 => u64::from(self.read(offset + 4, 4)) << 32 | low & !0b1111,
        }
    }

    /// The regions that answer now: decoding is on and an address has been given.
    #[must_use]
    pub fn mappings(&self) -> Vec<BarMapping> {
        let command = self.command();
        self.bars()
            .filter_map(|(index, bar)| {
                let (space, decoded) = match bar.kind {
                    BarKind::Io => (Space::Io, command & COMMAND_IO),
                    _ => (Space::Memory, command & COMMAND_MEMORY),
                };
                let base = self.bar_base(index, bar);
                (decoded != 0 && base != 0).then_some(BarMapping {
                    bar: index,
                    space,
                    base,
                    len: bar.len,
                })
            })
            .chain(self.rom_mapping())
            .collect()
    }

    /// Back to power-on: registers unassigned, decoding off.
    pub fn reset(&mut self) {
        self.bytes = self.power_on;
    }

    #[must_use]
    pub fn save(&self) -> ConfigState {
        ConfigState {
            bytes: self.bytes.to_vec(),
        }
    }

    /// Takes the guest's bits from a saved space, which must be the same function's.
    ///
    /// # Errors
    /// With a reason, when the saved space's fixed bits differ. Nothing is changed then.
    pub fn restore(&mut self, state: &ConfigState) -> Result<(), String> {
        if state.bytes.len() != SIZE {
            return Err(format!(
                "{} bytes of configuration space",
                state.bytes.len()
            ));
        }
        let mut restored = self.bytes;
        for (at, &saved) in state.bytes.iter().enumerate() {
            let free = self.writable[at] | self.clearable[at];
            if (saved ^ self.power_on[at]) & !free != 0 {
                return Err(format!("configuration space differs at {at:#x}"));
            }
            restored[at] = saved;
        }
        self.bytes = restored;
        Ok(())
    }
}

/// An access names a doubleword and bytes in it.
fn in_one_register(offset: u16, size: u8) -> bool {
    offset % 4 + u16::from(size) <= 4
}

fn put(bytes: &mut [u8; SIZE], at: usize, from: &[u8]) {
    bytes[at..at + from.len()].copy_from_slice(from);
}

#[cfg(test)]
mod tests;
