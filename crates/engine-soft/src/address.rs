//! Effective and linear addresses. Spec: Intel SDM Vol. 3, "Protected-Mode Memory Management".

use x86::exception::vector;
use x86::{Exception, Segment, SegmentRegister};

use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{AddressForm, Op, Stop};
use crate::word::Word;

impl Cpu {
    /// Offset part of the memory operand, truncated to the address size.
    #[inline(always)]
    pub(crate) fn offset(&self, op: &Op) -> u64 {
        let base = self.slot(op.base);
        let index = self.slot(op.index) << (op.shift & 3);
        let offset = base.wrapping_add(index).wrapping_add(op.disp);
        match op.form {
            AddressForm::Long64 => offset,
            AddressForm::Long32 | AddressForm::Legacy32 => offset & 0xffff_ffff,
            AddressForm::Legacy16 => offset & 0xffff,
        }
    }

    #[inline(always)]
    fn slot(&self, index: u8) -> u64 {
        debug_assert!(index < 18);
        self.gpr[usize::from(index) % 18]
    }

    /// Linear address of the memory operand for an access of `size` bytes.
    #[inline(always)]
    pub(crate) fn linear(&mut self, op: &Op, size: u32, write: bool) -> Result<u64, Stop> {
        let offset = self.offset(op);
        if matches!(op.form, AddressForm::Long64 | AddressForm::Long32) {
            return Ok(self.segment_bases[usize::from(op.seg) % 7].wrapping_add(offset));
        }
        self.linear_in(op.seg, offset, size, write)
    }

    /// Linear address of `offset` in the segment with index `seg`, after limit and rights checks
    /// where the mode has them.
    pub(crate) fn linear_in(
        &mut self,
        seg: u8,
        offset: u64,
        size: u32,
        write: bool,
    ) -> Result<u64, Stop> {
        let linear = self.segment_bases[usize::from(seg) % 7].wrapping_add(offset);
        if self.code_size == CodeSize::Bits64 {
            return Ok(linear);
        }
        let segment = self.segments[usize::from(seg) % 6];
        if segment_allows(&segment, offset, size, write, self.uses_descriptors()) {
            return Ok(linear & 0xffff_ffff);
        }
        let vector = if seg == SegmentRegister::Ss as u8 {
            vector::SS
        } else {
            vector::GP
        };
        self.raise(Exception::with_code(vector, 0))
    }

    #[inline(always)]
    pub(crate) fn load<T: Word>(&mut self, op: &Op) -> Result<T, Stop> {
        let gla = self.linear(op, u32::from(T::BYTES), false)?;
        self.read(gla)
    }

    #[inline(always)]
    pub(crate) fn store<T: Word>(&mut self, op: &Op, value: T) -> Result<(), Stop> {
        let gla = self.linear(op, u32::from(T::BYTES), true)?;
        self.write(gla, value)
    }

    /// Linear address of the stack at stack-pointer value `rsp`.
    #[inline(always)]
    pub(crate) fn stack_linear(&mut self, rsp: u64, size: u32, write: bool) -> Result<u64, Stop> {
        if self.code_size == CodeSize::Bits64 {
            return Ok(rsp);
        }
        self.linear_in(
            SegmentRegister::Ss as u8,
            rsp & self.stack_mask,
            size,
            write,
        )
    }

    /// RSP after moving the stack pointer by `by`, other bits of RSP kept.
    #[inline(always)]
    pub(crate) fn moved_rsp(&self, by: i64) -> u64 {
        let rsp = self.gpr[4];
        let moved = rsp.wrapping_add_signed(by);
        if self.stack_mask == 0xffff_ffff {
            return moved & self.stack_mask;
        }
        rsp & !self.stack_mask | moved & self.stack_mask
    }

    #[inline(always)]
    pub(crate) fn push<T: Word>(&mut self, value: T) -> Result<(), Stop> {
        let rsp = self.moved_rsp(-i64::from(T::BYTES));
        let gla = self.stack_linear(rsp, u32::from(T::BYTES), true)?;
        self.write(gla, value)?;
        self.gpr[4] = rsp;
        Ok(())
    }

    /// The value `depth` bytes above the stack pointer, which does not move.
    #[inline(always)]
    pub(crate) fn stack_at<T: Word>(&mut self, depth: i64) -> Result<T, Stop> {
        let rsp = self.moved_rsp(depth);
        let gla = self.stack_linear(rsp, u32::from(T::BYTES), false)?;
        self.read(gla)
    }

    #[inline(always)]
    pub(crate) fn pop<T: Word>(&mut self) -> Result<T, Stop> {
        let value = self.stack_at(0)?;
        self.gpr[4] = self.moved_rsp(i64::from(T::BYTES));
        Ok(value)
    }

    /// Continues at `target`: a near transfer. #GP(0) where the code segment does not reach.
    #[inline(always)]
    pub(crate) fn jump(&mut self, target: u64) -> Result<(), Stop> {
        if self.code_size == CodeSize::Bits64 {
            if !Cpu::canonical(target) {
                return self.gp(0);
            }
        } else if target > u64::from(self.segments[SegmentRegister::Cs as usize].limit) {
            return self.gp(0);
        }
        self.rip = target;
        Ok(())
    }
}

/// May `size` bytes at `offset` be accessed? Spec: "Limit Checking" and "Type Checking".
pub(crate) fn segment_allows(
    segment: &Segment,
    offset: u64,
    size: u32,
    write: bool,
    descriptors: bool,
) -> bool {
    let last = offset + u64::from(size.max(1)) - 1;
    let limit = u64::from(segment.limit);
    let code = segment.has(Segment::CODE);
    if descriptors {
        let denied = if write {
            code || !segment.has(Segment::WRITABLE)
        } else {
            code && !segment.has(Segment::READABLE)
        };
        if segment.unusable || denied {
            return false;
        }
    }
    if !code && segment.has(Segment::EXPAND_DOWN) {
        let top = if segment.has(Segment::BIG) {
            0xffff_ffff
        } else {
            0xffff
        };
        return offset > limit && last <= top;
    }
    last <= limit
}
