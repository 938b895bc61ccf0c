//! Code segments as the target of a transfer. Spec: Intel SDM Vol. 3, "Privilege Level Checking When
//! Transferring Program Control Between Code Segments".

use x86::exception::vector;
use x86::{Segment, SegmentRegister};

use super::descriptor::{Descriptor, is_null, rpl};
use crate::cpu::Cpu;
use crate::interp::op::Stop;

impl Cpu {
    /// The code segment that a gate names, for entry at CPL or inwards. Answers the descriptor and
    /// the privilege level that its code runs at.
    pub(crate) fn gate_target(
        &mut self,
        selector: u16,
        ext: u16,
    ) -> Result<(Descriptor, u8), Stop> {
        if is_null(selector) {
            return self.gp(ext);
        }
        let descriptor = self.descriptor(selector, vector::GP, ext)?;
        if !descriptor.is_code() || descriptor.dpl() > self.cpl {
            return self.selector_fault(vector::GP, selector, ext);
        }
        if self.long_mode() && (!descriptor.is_long() || descriptor.is_big()) {
            return self.selector_fault(vector::GP, selector, ext);
        }
        if !descriptor.present() {
            return self.selector_fault(vector::NP, selector, ext);
        }
        let level = if descriptor.is_conforming() {
            self.cpl
        } else {
            descriptor.dpl()
        };
        Ok((descriptor, level))
    }

    /// #GP(0) unless `offset` lies in the code segment.
    pub(crate) fn check_code_offset(
        &mut self,
        segment: &Segment,
        offset: u64,
        ext: u16,
    ) -> Result<(), Stop> {
        let inside = if self.long_mode() && segment.has(Segment::LONG) {
            Cpu::canonical(offset)
        } else {
            offset <= u64::from(segment.limit)
        };
        if inside { Ok(()) } else { self.gp(ext) }
    }

    /// Is this a valid combination of L and D? (D is reserved where L is set, in long mode.)
    pub(crate) fn valid_code_size(&self, descriptor: &Descriptor) -> bool {
        !(self.long_mode() && descriptor.is_long() && descriptor.is_big())
    }

    /// Goes on at `offset` of the code segment at privilege `level`. SS must be what it shall be.
    pub(crate) fn put_code(
        &mut self,
        descriptor: &Descriptor,
        selector: u16,
        level: u8,
        offset: u64,
    ) {
        let selector = selector & !3 | u16::from(level);
        self.cpl = level;
        self.put_segment(SegmentRegister::Cs, descriptor.segment(selector));
        self.rip = offset;
    }

    /// The code segment that a far return or IRET to `selector` goes to; its RPL is the new level.
    pub(crate) fn return_target(&mut self, selector: u16) -> Result<Descriptor, Stop> {
        if is_null(selector) {
            return self.gp(0);
        }
        let descriptor = self.descriptor(selector, vector::GP, 0)?;
        let level = rpl(selector);
        let wrong_level = if descriptor.is_conforming() {
            descriptor.dpl() > level
        } else {
            descriptor.dpl() != level
        };
        if !descriptor.is_code() || level < self.cpl || wrong_level {
            return self.gp_selector(selector);
        }
        if !self.valid_code_size(&descriptor) {
            return self.gp_selector(selector);
        }
        if !descriptor.present() {
            return self.selector_fault(vector::NP, selector, 0);
        }
        Ok(descriptor)
    }

    /// SS for a return to privilege `level`, into 64-bit code or not.
    pub(crate) fn return_stack(
        &mut self,
        selector: u16,
        level: u8,
        to_long: bool,
    ) -> Result<Segment, Stop> {
        if is_null(selector) {
            if to_long && level != 3 && rpl(selector) == level {
                return Ok(super::segment::null_stack(level));
            }
            return self.gp(0);
        }
        let descriptor = self.descriptor(selector, vector::GP, 0)?;
        let right = descriptor.is_writable_data() && descriptor.dpl() == level;
        if rpl(selector) != level || !right {
            return self.gp_selector(selector);
        }
        if !descriptor.present() {
            return self.selector_fault(vector::SS, selector, 0);
        }
        self.mark_accessed(&descriptor)?;
        Ok(descriptor.segment(selector))
    }
}
