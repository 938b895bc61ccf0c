//! MMX registers in the x87 state. Spec: Intel SDM Vol. 1, "Compatibility With x87 FPU Architecture".
//!
//! `Fpu::st` holds the stack as FXSAVE does, from its top; MMX registers are the physical ones. An
//! MMX instruction makes the top physical register 0, so both orders agree from then on.

use super::template::Kind;
use crate::cpu::Cpu;
use crate::interp::op::{Op, Stop};

const TOP: u16 = 7 << 11;

fn names_mmx(kinds: u8) -> bool {
    (0..4).any(|k| kinds >> (2 * k) & 3 == Kind::Mmx as u8)
}

/// Prepares the x87 state for an instruction with operands of these kinds. The processor does it
/// before it stores or finds an exception, and does not take it back.
pub(super) fn enter(cpu: &mut Cpu, kinds: u8) {
    if names_mmx(kinds) {
        top_to_zero(cpu);
    }
}

pub(super) fn top_to_zero(cpu: &mut Cpu) {
    let top = usize::from(cpu.fpu.status >> 11 & 7);
    // ST(i) is physical register (top + i) mod 8.
    cpu.fpu.st.rotate_right(top);
    cpu.fpu.status &= !TOP;
}

/// All registers are in use from now on.
pub(super) fn touch(cpu: &mut Cpu, kinds: u8) {
    if names_mmx(kinds) {
        cpu.fpu.tag = 0xff;
    }
}

/// The instruction is complete: a register that it wrote is a NaN to the x87.
pub(super) fn leave(cpu: &mut Cpu, op: &Op) {
    touch(cpu, op.dst);
    // Only the first operand is ever written.
    if op.dst & 3 == Kind::Mmx as u8 {
        let register = &mut cpu.fpu.st[(op.extra & 7) as usize];
        register[8..10].fill(0xff);
    }
}

/// EMMS: all registers are free.
pub(super) fn emms(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.may_use_mmx()?;
    top_to_zero(cpu);
    cpu.fpu.tag = 0;
    Ok(())
}
