//! Descriptors in the GDT and LDT. Spec: Intel SDM Vol. 3, "Segment Descriptors", "System Descriptor
//! Types" and "Segment Selectors".

use x86::exception::vector;
use x86::{Exception, Segment};

use crate::cpu::Cpu;
use crate::interp::op::Stop;

/// Types of system descriptors.
pub(crate) mod system {
    pub(crate) const TSS16: u8 = 1;
    pub(crate) const LDT: u8 = 2;
    pub(crate) const TSS16_BUSY: u8 = 3;
    pub(crate) const CALL16: u8 = 4;
    pub(crate) const TASK_GATE: u8 = 5;
    pub(crate) const INTERRUPT16: u8 = 6;
    pub(crate) const TRAP16: u8 = 7;
    /// Also the 64-bit TSS.
    pub(crate) const TSS: u8 = 9;
    pub(crate) const TSS_BUSY: u8 = 11;
    /// Also the 64-bit call gate.
    pub(crate) const CALL: u8 = 12;
    pub(crate) const INTERRUPT: u8 = 14;
    pub(crate) const TRAP: u8 = 15;
    /// The bit that makes a TSS type busy.
    pub(crate) const BUSY: u8 = 2;
}

/// A selector without its requested privilege, as error codes hold it.
pub(crate) const fn error_code(selector: u16) -> u16 {
    selector & !3
}

pub(crate) const fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// A selector that names no descriptor.
pub(crate) const fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// An entry of a descriptor table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptor {
    pub(crate) raw: u64,
    /// Linear address of the entry.
    pub(crate) address: u64,
}

impl Descriptor {
    const fn bit(&self, bit: u32) -> bool {
        self.raw & 1 << bit != 0
    }

    /// Type of a system descriptor (meaningless for others).
    pub(crate) const fn kind(&self) -> u8 {
        (self.raw >> 40 & 0xf) as u8
    }

    pub(crate) const fn is_system(&self) -> bool {
        !self.bit(44)
    }

    pub(crate) const fn dpl(&self) -> u8 {
        (self.raw >> 45 & 3) as u8
    }

    pub(crate) const fn present(&self) -> bool {
        self.bit(47)
    }

    pub(crate) const fn is_code(&self) -> bool {
        self.bit(44) && self.bit(43)
    }

    pub(crate) const fn is_data(&self) -> bool {
        self.bit(44) && !self.bit(43)
    }

    pub(crate) const fn is_writable_data(&self) -> bool {
        self.is_data() && self.bit(41)
    }

    /// Data, or code that may be read.
    pub(crate) const fn is_readable(&self) -> bool {
        self.is_data() || self.bit(44) && self.bit(41)
    }

    pub(crate) const fn is_conforming(&self) -> bool {
        self.is_code() && self.bit(42)
    }

    pub(crate) const fn is_long(&self) -> bool {
        self.bit(53)
    }

    pub(crate) const fn is_big(&self) -> bool {
        self.bit(54)
    }

    /// What a segment register holds after loading it through `selector`.
    pub(crate) const fn segment(&self, selector: u16) -> Segment {
        let mut segment = Segment::from_descriptor(selector, self.raw);
        if !self.is_system() {
            segment.rights |= Segment::ACCESSED;
        }
        segment
    }
}

impl Cpu {
    /// Linear address `offset` bytes into a system table.
    pub(crate) fn table_address(&self, base: u64, offset: u64) -> u64 {
        let address = base.wrapping_add(offset);
        if self.long_mode() {
            address
        } else {
            address & 0xffff_ffff
        }
    }

    /// Linear address of the entry that `selector` names, if `size` bytes of it are in its table.
    fn entry_address(&self, selector: u16, size: u64) -> Option<u64> {
        let offset = u64::from(selector & !7);
        let (base, limit) = if selector & 4 == 0 {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        } else if self.ldtr.unusable {
            return None;
        } else {
            (self.ldtr.base, u64::from(self.ldtr.limit))
        };
        (offset + size - 1 <= limit).then(|| self.table_address(base, offset))
    }

    /// The descriptor that `selector` names; `None` where it lies outside its table.
    pub(crate) fn find_descriptor(&mut self, selector: u16) -> Result<Option<Descriptor>, Stop> {
        let Some(address) = self.entry_address(selector, 8) else {
            return Ok(None);
        };
        let raw = self.read_system(address)?;
        Ok(Some(Descriptor { raw, address }))
    }

    /// Likewise, with vector `fault` and the selector as its error code (plus `ext`) where there is none.
    pub(crate) fn descriptor(
        &mut self,
        selector: u16,
        fault: u8,
        ext: u16,
    ) -> Result<Descriptor, Stop> {
        match self.find_descriptor(selector)? {
            Some(descriptor) => Ok(descriptor),
            None => self.selector_fault(fault, selector, ext),
        }
    }

    /// Second half of a 16-byte system descriptor. `None` outside the table.
    pub(crate) fn descriptor_high(&mut self, selector: u16) -> Result<Option<u64>, Stop> {
        match self.entry_address(selector, 16) {
            Some(address) => {
                let high = self.table_address(address, 8);
                self.read_system(high).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Raises `fault` with `selector` in its error code.
    pub(crate) fn selector_fault<T>(
        &mut self,
        fault: u8,
        selector: u16,
        ext: u16,
    ) -> Result<T, Stop> {
        let code = u32::from(error_code(selector) | ext);
        self.raise(Exception::with_code(fault, code))
    }

    /// #GP(selector).
    pub(crate) fn gp_selector<T>(&mut self, selector: u16) -> Result<T, Stop> {
        self.selector_fault(vector::GP, selector, 0)
    }

    /// Sets the accessed bit in the table, if it is clear.
    pub(crate) fn mark_accessed(&mut self, descriptor: &Descriptor) -> Result<(), Stop> {
        if descriptor.is_system() || descriptor.bit(40) {
            return Ok(());
        }
        self.write_access_byte(descriptor, (descriptor.raw >> 40) as u8 | 1)
    }

    /// Sets or clears the busy bit of a TSS descriptor in the table.
    pub(crate) fn mark_busy(&mut self, descriptor: &Descriptor, busy: bool) -> Result<(), Stop> {
        let byte = (descriptor.raw >> 40) as u8 & !system::BUSY;
        let bit = if busy { system::BUSY } else { 0 };
        self.write_access_byte(descriptor, byte | bit)
    }

    fn write_access_byte(&mut self, descriptor: &Descriptor, byte: u8) -> Result<(), Stop> {
        let address = self.table_address(descriptor.address, 5);
        self.write_system(address, byte)
    }
}
