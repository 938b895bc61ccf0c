//! Operands of system instructions: a general register or 16 bits of memory.

use iced_x86::{Instruction, OpKind};

use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Op, Stop, register_offset};
use crate::word::Word;

/// Bit of `Op::flags`: the general operand is in memory.
pub(crate) const MEMORY: u8 = 1 << 7;

/// Notes operand `n` of `insn`: in `op.dst` and `op.size`, or as the memory operand.
pub(crate) fn note_general(op: &mut Op, insn: &Instruction, n: u32) {
    if insn.op_kind(n) == OpKind::Memory {
        op.flags |= MEMORY;
        op.size = 2;
    } else {
        let register = insn.op_register(n);
        op.dst = register_offset(register);
        op.size = register.size() as u8;
    }
}

/// Writes `size` bytes of a general register, as [`Word::set`] does.
pub(crate) fn put(cpu: &mut Cpu, offset: u8, size: u8, value: u64) {
    match size {
        1 => u8::set(&mut cpu.gpr, offset, value as u8),
        2 => u16::set(&mut cpu.gpr, offset, value as u16),
        4 => u32::set(&mut cpu.gpr, offset, value as u32),
        _ => u64::set(&mut cpu.gpr, offset, value),
    }
}

/// Operand size of instructions whose width is the mode's alone: 8 bytes in 64-bit code, else 4.
pub(crate) fn natural_size(code: CodeSize) -> u8 {
    if code == CodeSize::Bits64 { 8 } else { 4 }
}

impl Cpu {
    /// The 16-bit operand.
    pub(crate) fn word_operand(&mut self, op: &Op) -> Result<u16, Stop> {
        if op.flags & MEMORY != 0 {
            self.load(op)
        } else {
            Ok(u16::get(&self.gpr, op.dst))
        }
    }

    /// Stores to a whole register, or 16 bits to memory.
    pub(crate) fn put_word_operand(&mut self, op: &Op, value: u64) -> Result<(), Stop> {
        if op.flags & MEMORY != 0 {
            return self.store(op, value as u16);
        }
        put(self, op.dst, op.size, value);
        Ok(())
    }

    /// #GP(0) above privilege level 0.
    pub(crate) fn only_level_0(&mut self) -> Result<(), Stop> {
        if self.cpl == 0 { Ok(()) } else { self.gp(0) }
    }

    /// #UD in real and virtual-8086 mode.
    pub(crate) fn only_with_descriptors(&mut self) -> Result<(), Stop> {
        if self.uses_descriptors() {
            Ok(())
        } else {
            self.ud()
        }
    }

    /// #UD outside 64-bit mode.
    pub(crate) fn only_64_bit(&mut self) -> Result<(), Stop> {
        if self.code_size == CodeSize::Bits64 {
            Ok(())
        } else {
            self.ud()
        }
    }

    /// #UD without this feature, see [`crate::cpu::features::has`].
    pub(crate) fn needs(&mut self, feature: u32) -> Result<(), Stop> {
        if self.features.has(feature) {
            Ok(())
        } else {
            self.ud()
        }
    }
}
