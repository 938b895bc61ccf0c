//! Vector instructions without a stub: MXCSR, EMMS, VZEROUPPER, fences and prefetches.

use std::sync::atomic::{Ordering, fence};

use iced_x86::{EncodingKind, Instruction, Mnemonic};

use super::mmx;
use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

/// Bits of MXCSR that exist.
pub(crate) const MXCSR_BITS: u32 = 0xffff;

pub(super) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Ldmxcsr => ldmxcsr::<false>,
        Mnemonic::Vldmxcsr => ldmxcsr::<true>,
        Mnemonic::Stmxcsr => stmxcsr::<false>,
        Mnemonic::Vstmxcsr => stmxcsr::<true>,
        Mnemonic::Emms => mmx::emms,
        Mnemonic::Vzeroupper => vzeroupper,
        Mnemonic::Vzeroall => vzeroall,
        Mnemonic::Sfence | Mnemonic::Lfence | Mnemonic::Mfence => barrier,
        Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2 => nothing,
        _ => return None,
    };
    if insn.encoding() == EncodingKind::VEX && insn.is_vsib() {
        return None;
    }
    Lowered::straight(Op::new(insn, context.code, run))
}

/// PREFETCHh never faults, and our caches are the host's.
fn nothing(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    Ok(())
}

fn barrier(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    fence(Ordering::SeqCst);
    Ok(())
}

fn may_use<const VEX: bool>(cpu: &mut Cpu) -> Result<(), Stop> {
    if VEX {
        cpu.may_use_avx()
    } else {
        cpu.may_use_sse()
    }
}

/// (V)LDMXCSR: a reserved bit is #GP(0).
fn ldmxcsr<const VEX: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    may_use::<VEX>(cpu)?;
    let value: u32 = cpu.load(op)?;
    if value & !MXCSR_BITS != 0 {
        return cpu.gp(0);
    }
    cpu.fpu.mxcsr = value;
    Ok(())
}

fn stmxcsr<const VEX: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    may_use::<VEX>(cpu)?;
    let value = cpu.fpu.mxcsr;
    cpu.store(op, value)
}

/// How many vector registers instructions can name here.
fn nameable(cpu: &Cpu) -> usize {
    if cpu.code_size == crate::cpu::CodeSize::Bits64 {
        16
    } else {
        8
    }
}

fn vzeroupper(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.may_use_avx()?;
    let count = nameable(cpu);
    for register in &mut cpu.fpu.ymm[..count] {
        register[16..].fill(0);
    }
    Ok(())
}

fn vzeroall(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.may_use_avx()?;
    let count = nameable(cpu);
    cpu.fpu.ymm[..count].fill([0; 32]);
    Ok(())
}
