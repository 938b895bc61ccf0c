//! MMX registers in the x87 state. Spec: Intel SDM Vol. 1, "Compatibility With x87 FPU Architecture".
//!
//! `Fpu::st` holds the stack as FXSAVE does, from its top; MMX registers are the physical ones. An
//! MMX instruction makes the top physical register 0, so both orders agree from then on.

use super::template::Kind;
use crate::cpu::Cpu;
use crate::interp::op::{Op, Stop};

const TOP: u16 = 7 << 11;

/// x87 state before an MMX instruction.
pub(super) struct Before {
    st: [[u8; 16]; 8],
    status: u16,
}

fn names_mmx(kinds: u8) -> bool {
    (0..4).any(|k| kinds >> (2 * k) & 3 == Kind::Mmx as u8)
}

/// Prepares the x87 state for an instruction with operands of these kinds.
pub(super) fn enter(cpu: &mut Cpu, kinds: u8) -> Option<Before> {
    if !names_mmx(kinds) {
        return None;
    }
    let before = Before {
        st: cpu.fpu.st,
        status: cpu.fpu.status,
    };
    top_to_zero(cpu);
    Some(before)
}

pub(super) fn top_to_zero(cpu: &mut Cpu) {
    let top = usize::from(cpu.fpu.status >> 11 & 7);
    // ST(i) is physical register (top + i) mod 8.
    cpu.fpu.st.rotate_right(top);
    cpu.fpu.status &= !TOP;
}

/// The instruction raised an exception: nothing has happened.
pub(super) fn undo(cpu: &mut Cpu, before: Option<Before>) {
    if let Some(before) = before {
        cpu.fpu.st = before.st;
        cpu.fpu.status = before.status;
    }
}

/// The instruction is complete: all registers are in use, and the written one is a NaN to the x87.
pub(super) fn leave(cpu: &mut Cpu, op: &Op) {
    if !names_mmx(op.dst) {
        return;
    }
    cpu.fpu.tag = 0xff;
    if op.dst & 3 == Kind::Mmx as u8 && op.imm != 0 {
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
