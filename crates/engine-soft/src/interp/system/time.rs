//! Time stamps and counters. Spec: Intel SDM Vol. 2, "RDTSC", "RDTSCP", "RDPID", "RDPMC"; Vol. 3,
//! "Time-Stamp Counter".

use iced_x86::{Instruction, Mnemonic};
use x86::register::cr4;
use x86::register::gpr::RCX;

use super::operand::{note_general, put};
use crate::cpu::Cpu;
use crate::cpu::convert::host_tsc;
use crate::cpu::features::has;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Rdtsc => rdtsc,
        Mnemonic::Rdtscp => rdtscp,
        Mnemonic::Rdpid => rdpid,
        Mnemonic::Rdpmc => rdpmc,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    if insn.mnemonic() == Mnemonic::Rdpid {
        note_general(&mut op, insn, 0);
    }
    Lowered::straight(op)
}

impl Cpu {
    /// The guest's time-stamp counter.
    pub(crate) fn tsc(&self) -> u64 {
        host_tsc().wrapping_add(self.msrs.tsc_offset)
    }
}

fn rdtsc(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    if cpu.cr4 & cr4::TSD != 0 && cpu.cpl != 0 {
        return cpu.gp(0);
    }
    let now = cpu.tsc();
    cpu.put_edx_eax(now);
    Ok(())
}

fn rdtscp(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.needs(has::RDTSCP)?;
    rdtsc(cpu, op)?;
    cpu.gpr[RCX] = cpu.msrs.tsc_aux;
    Ok(())
}

fn rdpid(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.needs(has::RDPID)?;
    put(cpu, op.dst, op.size, cpu.msrs.tsc_aux);
    Ok(())
}

/// There are no counters (CPUID leaf 0Ah says so), so that every index is a wrong one.
fn rdpmc(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.gp(0)
}
