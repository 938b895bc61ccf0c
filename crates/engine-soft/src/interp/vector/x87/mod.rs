//! x87 instructions. Spec: Intel SDM Vol. 1, "Programming With the x87 FPU".
//!
//! Arithmetic runs on the host's own x87 with the guest's whole state loaded, exception masks
//! included: the silicon decides what an unmasked exception leaves behind, and FXSAVE takes it away
//! before anything waits for it. What controls the FPU (FLDCW, FNSTENV, FNINIT and the like) is
//! written out here.
//!
//! Last-instruction pointers: FIP is the guest's; FDP as CPUID's FDP_EXCPTN_ONLY says; FOP is
//! updated by unmasked exceptions only, as processors do since the Pentium 4, and gives a memory
//! operand the form `[edi]` whatever it was; FCS and FDS are zero (CPUID's "deprecates FCS and FDS").

mod control;
mod environment;
mod native_raw;
pub(super) mod words;

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::template::NoMemory;
use super::{no_memory, rules, template};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op};

/// Lowers an x87 instruction whose feature the guest has, if `insn` is one.
pub(super) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    if let Some(run) = control_handler(insn) {
        let mut op = Op::new(insn, context.code, run);
        op.size = insn.memory_size().size() as u8;
        return Lowered::straight(op);
    }
    if !rules::is_x87(insn) {
        return None;
    }
    let template = match template::find(insn) {
        Ok(found) => found?,
        Err(NoMemory) => return no_memory(insn, context),
    };
    let mut op = Op::new(insn, context.code, native_raw::run);
    op.imm = template.entry.to_bits();
    op.src = template.flags;
    op.size = template.memory;
    op.extra = opcode(insn);
    Lowered::straight(op)
}

fn control_handler(insn: &Instruction) -> Option<Handler> {
    let register = insn.op_count() > 0 && insn.op0_kind() == OpKind::Register;
    Some(match insn.mnemonic() {
        Mnemonic::Wait => control::wait,
        Mnemonic::Fninit => control::fninit,
        Mnemonic::Fnclex => control::fnclex,
        Mnemonic::Fnstsw if register => control::fnstsw_ax,
        Mnemonic::Fnstsw => control::fnstsw,
        Mnemonic::Fnstcw => control::fnstcw,
        Mnemonic::Fldcw => control::fldcw,
        Mnemonic::Fneni | Mnemonic::Fndisi | Mnemonic::Fnsetpm => control::nothing,
        Mnemonic::Fnstenv => environment::fnstenv,
        Mnemonic::Fldenv => environment::fldenv,
        Mnemonic::Fnsave => environment::fnsave,
        Mnemonic::Frstor => environment::frstor,
        _ => return None,
    })
}

/// What FOP shows: the low three bits of the opcode and the byte after it.
fn opcode(insn: &Instruction) -> u32 {
    let code = insn.op_code();
    if code.op_code_len() != 1 {
        let index = (0..insn.op_count())
            .map(|n| insn.op_register(n))
            .filter(|register| register.is_st())
            .map(|register| register.number() as u32)
            .max();
        return (code.op_code() | index.unwrap_or(0)) & 0x7ff;
    }
    let rm_edi = 7;
    let reg = u32::try_from(code.group_index()).unwrap_or(0);
    (code.op_code() & 7) << 8 | reg << 3 | rm_edi
}

#[cfg(test)]
mod tests;
