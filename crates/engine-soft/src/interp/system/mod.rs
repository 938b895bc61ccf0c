//! System instructions: far transfers, interrupts, segments, control registers, I/O.

use iced_x86::Instruction;

use super::decode::{Context, Lowered};

mod base;
mod code_segment;
mod control;
mod cpuid;
mod debug;
pub(crate) mod deliver;
mod descriptor;
mod enter_gate;
mod enter_long;
mod enter_real;
mod far;
mod far_return;
pub(crate) mod fast_call;
mod flags;
mod halt;
mod hint;
mod msr;
mod operand;
mod port;
mod random;
mod segment;
mod segment_move;
mod software_interrupt;
mod stack;
mod tables;
mod task;
mod task_image;
mod task_load;
mod time;
mod translation;
mod tss;
mod verify;
mod vme;

type Lower = fn(&Instruction, Context) -> Option<Lowered>;

/// Everything not named by one of these raises #UD: RSM outside system-management mode, the VMX and
/// SVM instructions, what CET, SGX, TDX and the like brought.
const SUBJECTS: &[Lower] = &[
    flags::lower,
    hint::lower,
    port::lower,
    segment_move::lower,
    software_interrupt::lower,
    far::lower,
    far_return::lower,
    fast_call::lower,
    base::lower,
    control::lower,
    debug::lower,
    tables::lower,
    verify::lower,
    msr::lower,
    cpuid::lower,
    time::lower,
    translation::lower,
    halt::lower,
    random::lower,
];

/// Lowers a system instruction, if `insn` is one.
pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    SUBJECTS.iter().find_map(|lower| lower(insn, context))
}
