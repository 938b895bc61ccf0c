//! Stacks as far transfers and event delivery use them: perhaps another than the current one, at
//! another privilege, with a register committed only when all else has succeeded.
//!
//! Memory that is not RAM reads as all-ones and swallows writes here: delivery of an interrupt is no
//! instruction that the machine could finish later, and a stack in a device's registers is nobody's.
//! Spec: Intel SDM Vol. 3, "Stack Switching"; Vol. 1, "Procedure Calls, Interrupts, and Exceptions".

use x86::exception::vector;
use x86::register::gpr::RSP;
use x86::{Exception, Segment, SegmentRegister};

use crate::address::segment_allows;
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::Stop;
use crate::mmu::walk::peek;

/// A stack pointer with its segment, apart from the registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack {
    segment: Segment,
    pub(crate) sp: u64,
    mask: u64,
    /// Privilege of the accesses.
    cpl: u8,
    /// 64-bit mode: no base, no limit.
    flat: bool,
    /// Error code of a #SS.
    code: u16,
}

impl Stack {
    /// The stack of SS:RSP. Violations raise #SS(`code`).
    pub(crate) fn current(cpu: &Cpu, code: u16) -> Stack {
        Stack {
            segment: *cpu.segment(SegmentRegister::Ss),
            sp: cpu.gpr[RSP],
            mask: cpu.stack_mask,
            cpl: cpu.cpl,
            flat: cpu.code_size == CodeSize::Bits64,
            code,
        }
    }

    /// A stack about to be switched to, used with privilege `cpl`.
    pub(crate) fn new(segment: Segment, sp: u64, cpl: u8, code: u16) -> Stack {
        let big = segment.has(Segment::BIG);
        Stack {
            segment,
            sp,
            mask: if big { 0xffff_ffff } else { 0xffff },
            cpl,
            flat: false,
            code,
        }
    }

    /// A stack of 64-bit mode.
    pub(crate) fn long(sp: u64, cpl: u8, code: u16) -> Stack {
        Stack {
            segment: Segment::default(),
            sp,
            mask: u64::MAX,
            cpl,
            flat: true,
            code,
        }
    }

    /// The stack pointer moved by `by`; bits outside the stack's width stay.
    fn moved(&self, by: i64) -> u64 {
        let moved = self.sp.wrapping_add_signed(by) & self.mask;
        match self.mask {
            0xffff => self.sp & !0xffff | moved,
            _ => moved,
        }
    }

    fn linear(&self, cpu: &mut Cpu, sp: u64, size: u8, write: bool) -> Result<u64, Stop> {
        if self.flat {
            if Cpu::canonical(sp) && Cpu::canonical(sp.wrapping_add(u64::from(size) - 1)) {
                return Ok(sp);
            }
        } else {
            let offset = sp & self.mask;
            let checked = cpu.uses_descriptors();
            if segment_allows(&self.segment, offset, u32::from(size), write, checked) {
                return Ok(self.segment.base.wrapping_add(offset) & 0xffff_ffff);
            }
        }
        cpu.raise(Exception::with_code(vector::SS, u32::from(self.code)))
    }

    /// Pushes the low `size` bytes of `value`.
    pub(crate) fn push(&mut self, cpu: &mut Cpu, size: u8, value: u64) -> Result<(), Stop> {
        let sp = self.moved(-i64::from(size));
        let gla = self.linear(cpu, sp, size, true)?;
        cpu.at_level(self.cpl, |cpu| cpu.write_ram(gla, size, value))?;
        self.sp = sp;
        Ok(())
    }

    /// Pushes words of 8 bytes so that they lie in memory as they do in `words`.
    pub(crate) fn push_words(&mut self, cpu: &mut Cpu, words: &[u64]) -> Result<(), Stop> {
        let bytes = 8 * words.len() as u64;
        let sp = self.sp.wrapping_sub(bytes);
        let plain = self.flat && Cpu::canonical(sp) && Cpu::canonical(self.sp.wrapping_sub(1));
        if plain && cpu.at_level(self.cpl, |cpu| cpu.write_words(sp, words)) {
            self.sp = sp;
            return Ok(());
        }
        words
            .iter()
            .rev()
            .try_for_each(|word| self.push(cpu, 8, *word))
    }

    /// The next words of 8 bytes, if they can be had without a fault or anything else.
    pub(crate) fn next_words<const N: usize>(&self, cpu: &mut Cpu) -> Option<[u64; N]> {
        let plain = self.flat && Cpu::canonical(self.sp) && self.cpl == cpu.cpl;
        if plain { cpu.read_words(self.sp) } else { None }
    }

    /// Reads `size` bytes, `depth` bytes above the stack pointer.
    pub(crate) fn peek(&self, cpu: &mut Cpu, size: u8, depth: u64) -> Result<u64, Stop> {
        let sp = self.moved(depth as i64);
        let gla = self.linear(cpu, sp, size, false)?;
        cpu.at_level(self.cpl, |cpu| cpu.read_ram(gla, size))
    }

    pub(crate) fn pop(&mut self, cpu: &mut Cpu, size: u8) -> Result<u64, Stop> {
        let value = self.peek(cpu, size, 0)?;
        self.release(u64::from(size));
        Ok(value)
    }

    /// Drops `bytes` without reading them.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.sp = self.moved(bytes as i64);
    }

    /// The stack pointer becomes RSP.
    pub(crate) fn commit(&self, cpu: &mut Cpu) {
        cpu.gpr[RSP] = match self.mask {
            0xffff_ffff => self.sp & 0xffff_ffff,
            _ => self.sp,
        };
    }
}

impl Cpu {
    /// Runs `access` with the memory rights of privilege `cpl`.
    pub(crate) fn at_level<R>(&mut self, cpl: u8, access: impl FnOnce(&mut Cpu) -> R) -> R {
        if self.cpl == cpl {
            return access(self);
        }
        let old = std::mem::replace(&mut self.cpl, cpl);
        self.choose_access();
        let result = access(self);
        self.cpl = old;
        self.choose_access();
        result
    }

    fn is_ram(&self, gla: u64) -> bool {
        peek(self, gla).is_some_and(|gpa| self.mmu.region(gpa).is_some())
    }

    /// Reads `size` bytes of RAM at a linear address with the current privilege.
    pub(crate) fn read_ram(&mut self, gla: u64, size: u8) -> Result<u64, Stop> {
        if self.host_for_read(gla, u64::from(size)).is_none() {
            self.prepare_read(gla, u32::from(size))?;
            if !self.is_ram(gla) || !self.is_ram(gla.wrapping_add(u64::from(size) - 1)) {
                return Ok(u64::MAX >> (64 - u32::from(size) * 8));
            }
        }
        match size {
            2 => self.read::<u16>(gla).map(u64::from),
            4 => self.read::<u32>(gla).map(u64::from),
            _ => self.read::<u64>(gla),
        }
    }

    /// Writes the low `size` bytes of `value` likewise.
    pub(crate) fn write_ram(&mut self, gla: u64, size: u8, value: u64) -> Result<(), Stop> {
        if self.host_for_write(gla, u64::from(size)).is_none() {
            self.prepare_write(gla, u32::from(size))?;
            if !self.is_ram(gla) || !self.is_ram(gla.wrapping_add(u64::from(size) - 1)) {
                return Ok(());
            }
        }
        match size {
            2 => self.write(gla, value as u16),
            4 => self.write(gla, value as u32),
            _ => self.write(gla, value),
        }
    }
}
