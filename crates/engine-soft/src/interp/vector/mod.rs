//! x87, MMX, SSE and AVX, and the newer instructions over general registers (BMI, POPCNT, CRC32):
//! the guest's instruction is executed by the host's own.
//!
//! Problem: a thousand instructions, each exact to the last bit of a rounding or a NaN. Choice: run
//! each one natively, alone, in a stub that loads its operands and stores its results ([`template`],
//! [`emit`], [`native_raw`]); the silicon is then its own specification. What cannot run that way is
//! written out: control and state instructions ([`x87`], [`state`]), and accesses whose elements
//! fault one by one ([`masked`], [`gather`]). Rejected: one Rust function an instruction over
//! intrinsics, which is the same code written a thousand times and rounds as the compiler pleases.

pub(crate) mod available;
mod emit;
mod gate;
mod gather;
mod masked;
pub(crate) mod misc;
mod mmx;
mod native_raw;
mod operand;
mod operand_raw;
pub(crate) mod rules;
mod scalar;
pub(crate) mod state;
mod stub_raw;
mod template;
mod x87;

use engine::Exit;
use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic, OpKind, Register};

pub(crate) use self::stub_raw::{adopt_arena, arenas};

use self::native_raw::{LOAD, MXCSR, STORE, VEX, WRITTEN_SHIFT};
use self::template::{Kind, NoMemory, Template, needs};
use super::decode::{Context, Lowered};
use super::op::{Handler, Op, Stop, register_offset};
use crate::cpu::Cpu;

/// Lowers one of this module's instructions, if `insn` is one.
pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let has_x87 = context.available.has(CpuidFeature::FPU);
    let there = match insn.mnemonic() {
        Mnemonic::Wait => has_x87,
        _ => context.available.has_all(insn.cpuid_features()),
    };
    if !there {
        return older(insn, context);
    }
    misc::lower(insn, context)
        .or_else(|| state::lower(insn, context))
        .or_else(|| masked::lower(insn, context))
        .or_else(|| gather::lower(insn, context))
        .or_else(|| scalar::lower(insn, context))
        .or_else(|| x87::lower(insn, context))
        .or_else(|| native(insn, context))
}

/// What an encoding meant before its feature came: LZCNT and TZCNT are BSR and BSF with a prefix
/// that does nothing.
fn older(insn: &Instruction, context: Context) -> Option<Lowered> {
    let code = match insn.code() {
        Code::Lzcnt_r16_rm16 => Code::Bsr_r16_rm16,
        Code::Lzcnt_r32_rm32 => Code::Bsr_r32_rm32,
        Code::Lzcnt_r64_rm64 => Code::Bsr_r64_rm64,
        Code::Tzcnt_r16_rm16 => Code::Bsf_r16_rm16,
        Code::Tzcnt_r32_rm32 => Code::Bsf_r32_rm32,
        Code::Tzcnt_r64_rm64 => Code::Bsf_r64_rm64,
        _ => return None,
    };
    let mut insn = *insn;
    insn.set_code(code);
    let mut op = Op::NONE;
    let ends_block = super::integer::lower(&insn, context, &mut op)?;
    Some(Lowered { op, ends_block })
}

/// An instruction that runs in a native stub.
fn native(insn: &Instruction, context: Context) -> Option<Lowered> {
    if rules::is_x87(insn) || insn.is_vsib() {
        return None;
    }
    let template = match template::find(insn) {
        Ok(found) => found?,
        Err(NoMemory) => return no_memory(insn, context),
    };
    let mut op = Op::new(insn, context.code, handler(&template));
    op.imm = template.entry.to_bits();
    op.dst = template.kinds;
    op.src = template.flags;
    op.size = template.memory;
    op.flags |= template.written << WRITTEN_SHIFT;
    for k in 0..insn.op_count().min(4) {
        if insn.op_kind(k) == OpKind::Register {
            op.extra |= u32::from(operand(insn.op_register(k))) << (8 * k);
        }
    }
    Lowered::straight(op)
}

/// Without executable memory the guest cannot go on, and it is not the guest's fault.
fn no_memory(insn: &Instruction, context: Context) -> Option<Lowered> {
    Lowered::ending(Op::new(insn, context.code, fail))
}

fn fail(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.exit = Some(Exit::Failed {
        what: "the host gives no executable memory, which vector instructions need".to_owned(),
    });
    Err(Stop::Exit)
}

/// Number of a vector or MMX register, byte offset of a general one.
fn operand(register: Register) -> u8 {
    if register.is_gpr() {
        register_offset(register)
    } else {
        register.number() as u8
    }
}

fn handler(template: &Template) -> Handler {
    use native_raw::{any, scalar, simple};

    const SIMPLE: u8 = LOAD | STORE | MXCSR | VEX | needs::ALIGN;
    const SCALAR: u8 = LOAD | VEX | needs::STATUS | needs::IMPLIED_GPR;
    let only = |class: Kind| {
        (0..4).all(|k| {
            let kind = template.kinds >> (2 * k) & 3;
            kind == Kind::Other as u8 || kind == class as u8
        })
    };
    if only(Kind::General) && template.flags & !SCALAR == 0 {
        return match template.flags & (LOAD | VEX) {
            0 => scalar::<0>,
            LOAD => scalar::<LOAD>,
            VEX => scalar::<VEX>,
            _ => scalar::<{ LOAD | VEX }>,
        };
    }
    if !only(Kind::Vector) || template.kinds == 0 || template.flags & !SIMPLE != 0 {
        return any;
    }
    match template.flags & (LOAD | STORE | MXCSR | VEX) {
        0 => simple::<0>,
        LOAD => simple::<LOAD>,
        STORE => simple::<STORE>,
        MXCSR => simple::<MXCSR>,
        VEX => simple::<VEX>,
        f if f == LOAD | MXCSR => simple::<{ LOAD | MXCSR }>,
        f if f == LOAD | VEX => simple::<{ LOAD | VEX }>,
        f if f == STORE | VEX => simple::<{ STORE | VEX }>,
        f if f == MXCSR | VEX => simple::<{ MXCSR | VEX }>,
        f if f == LOAD | MXCSR | VEX => simple::<{ LOAD | MXCSR | VEX }>,
        _ => any,
    }
}

#[cfg(test)]
mod tests;
