//! Caches, fences and hints, most of which do nothing where every access is in order already.
//! Spec: Intel SDM Vol. 2 under the instructions' names.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::cpu::features::has;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Lfence | Mnemonic::Sfence => nothing,
        Mnemonic::Pause => pause,
        Mnemonic::Mfence => mfence,
        Mnemonic::Serialize => serialize,
        Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchwt1
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2
        | Mnemonic::Prefetchit0
        | Mnemonic::Prefetchit1
        | Mnemonic::Cldemote
        | Mnemonic::Reservednop
        | Mnemonic::Nop
        | Mnemonic::Endbr32
        | Mnemonic::Endbr64
        // With CR4.CET clear these are NOPs.
        | Mnemonic::Rdsspd
        | Mnemonic::Rdsspq => nothing,
        Mnemonic::Clflush => clflush,
        Mnemonic::Clflushopt => clflushopt,
        Mnemonic::Clwb => clwb,
        Mnemonic::Wbinvd | Mnemonic::Wbnoinvd | Mnemonic::Invd => privileged_nothing,
        Mnemonic::Monitor => monitor,
        Mnemonic::Mwait => mwait,
        _ => return None,
    };
    Lowered::straight(Op::new(insn, context.code, run))
}

fn nothing(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    Ok(())
}

/// PAUSEs of a vCPU between which its thread stays where it is.
const PAUSES_IN_TURN: u32 = 64;

/// Who spins waits for another vCPU, whose thread may be waiting for this one's host processor.
fn pause(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.pauses = cpu.pauses.wrapping_add(1);
    if cpu.pauses.is_multiple_of(PAUSES_IN_TURN) {
        std::thread::yield_now();
    }
    Ok(())
}

/// Guest stores are host stores, in program order, but may pass later loads as the host's may.
fn mfence(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    Ok(())
}

fn serialize(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.needs(has::SERIALIZE)?;
    mfence(cpu, op)
}

/// A flush of a line faults as a load of a byte of it would.
fn clflush(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let at = cpu.linear(op, 1, false)?;
    cpu.prepare_read(at, 1)
}

fn clflushopt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.needs(has::CLFLUSHOPT)?;
    clflush(cpu, op)
}

fn clwb(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.needs(has::CLWB)?;
    clflush(cpu, op)
}

fn privileged_nothing(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()
}

/// The address monitored is not remembered: MWAIT may end at any time, so it ends at once.
fn monitor(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    monitoring(cpu)?;
    if cpu.gpr[1] as u32 != 0 {
        return cpu.gp(0);
    }
    let rax = cpu.gpr[0] & super::port::address_mask(op);
    let at = cpu.linear_in(op.seg, rax, 1, false)?;
    cpu.prepare_read(at, 1)
}

fn mwait(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    monitoring(cpu)
}

fn monitoring(cpu: &mut Cpu) -> Result<(), Stop> {
    cpu.needs(has::MONITOR)?;
    if cpu.cpl == 0 { Ok(()) } else { cpu.ud() }
}
