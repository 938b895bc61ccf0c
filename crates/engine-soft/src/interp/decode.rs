//! From instruction bytes to ops.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction};

use super::op::{Handler, Op, Stop};
use super::vector::available::Available;
use super::{integer, system, vector};
use crate::cpu::{CodeSize, Cpu};

/// What lowering may look at besides the instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) code: CodeSize,
    pub(crate) available: Available,
}

impl Context {
    /// What the vCPU decodes with now.
    pub(crate) fn of(cpu: &Cpu) -> Context {
        Context {
            code: cpu.code_size,
            available: cpu.available,
        }
    }
}

/// An op, and whether the block ends after it (control transfers and all that changes the mode).
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) op: Op,
    pub(crate) ends_block: bool,
}

impl Lowered {
    pub(crate) fn straight(op: Op) -> Option<Lowered> {
        Some(Lowered {
            op,
            ends_block: false,
        })
    }

    pub(crate) fn ending(op: Op) -> Option<Lowered> {
        Some(Lowered {
            op,
            ends_block: true,
        })
    }
}

pub(crate) fn bits(code: CodeSize) -> u32 {
    match code {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    }
}

/// A decoder over block bytes whose instruction addresses are offsets from the block's start, so
/// that RIP-relative operands and branch targets come out relative to it.
pub(crate) fn decoder(bytes: &[u8], code: CodeSize) -> Decoder<'_> {
    Decoder::with_ip(bits(code), bytes, 0, DecoderOptions::NONE)
}

/// Of how many bytes it depends that this is the instruction. What is none may be so because of bytes
/// beyond those that were looked at.
pub(crate) fn depends_on(insn: &Instruction) -> usize {
    const LONGEST: usize = 15;
    if insn.code() == Code::INVALID {
        LONGEST
    } else {
        insn.len()
    }
}

/// Lowers one valid or invalid instruction. What nobody knows raises #UD.
pub(crate) fn lower(insn: &Instruction, context: Context) -> Lowered {
    let mut op = Op::NONE;
    let ends_block = lower_into(insn, context, &mut op);
    Lowered { op, ends_block }
}

/// The same in place. Answers whether the block ends after it.
pub(crate) fn lower_into(insn: &Instruction, context: Context, op: &mut Op) -> bool {
    let lowered = if insn.code() == Code::INVALID || insn.has_lock_prefix() && !may_lock(insn) {
        undefined(insn, context)
    } else if let Some(ends_block) = integer::lower(insn, context, op) {
        return ends_block;
    } else {
        system::lower(insn, context)
            .or_else(|| vector::lower(insn, context))
            .unwrap_or_else(|| undefined(insn, context))
    };
    *op = lowered.op;
    lowered.ends_block
}

/// LOCK is valid only on read-modify-write forms with a memory destination.
fn may_lock(insn: &Instruction) -> bool {
    insn.op0_kind() == iced_x86::OpKind::Memory && insn.op_code().can_use_lock_prefix()
}

fn undefined(insn: &Instruction, context: Context) -> Lowered {
    let run: Handler = ud;
    Lowered {
        op: Op::new(insn, context.code, run),
        ends_block: true,
    }
}

/// #UD.
fn ud(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.ud()
}
