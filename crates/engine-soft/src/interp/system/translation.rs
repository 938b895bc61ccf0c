//! What guests do to the TLB: INVLPG, INVPCID, protection keys. Spec: Intel SDM Vol. 3, "Invalidation
//! of TLBs and Paging-Structure Caches", "Protection Keys"; Vol. 2 under the instructions' names.

use iced_x86::{Instruction, Mnemonic};
use x86::register::cr4;
use x86::register::gpr::{RAX, RCX, RDX};

use super::operand::natural_size;
use crate::cpu::Cpu;
use crate::cpu::features::has;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop, register_offset};
use crate::word::Word;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Invlpg => invlpg,
        Mnemonic::Invpcid => invpcid,
        Mnemonic::Rdpkru => rdpkru,
        Mnemonic::Wrpkru => wrpkru,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    if insn.mnemonic() == Mnemonic::Invpcid {
        op.dst = register_offset(insn.op0_register());
        op.size = natural_size(context.code);
    }
    Lowered::straight(op)
}

fn invlpg(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    // No segment check, and a non-canonical address does nothing: it is in no TLB.
    let base = cpu.segment_bases[usize::from(op.seg) % 7];
    let gla = base.wrapping_add(cpu.offset(op));
    let gla = if cpu.long_mode() {
        gla
    } else {
        gla & 0xffff_ffff
    };
    cpu.mmu.flush_page(gla);
    Ok(())
}

fn invpcid(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.needs(has::INVPCID)?;
    cpu.only_level_0()?;
    let kind = if op.size == 8 {
        u64::get(&cpu.gpr, op.dst)
    } else {
        u64::from(u32::get(&cpu.gpr, op.dst))
    };
    let at = cpu.linear(op, 16, false)?;
    let pcid = cpu.read::<u64>(at)?;
    let address = cpu.read::<u64>(at.wrapping_add(8))?;
    let without_pcids = cpu.cr4 & cr4::PCIDE == 0 && pcid != 0;
    let wrong = match kind {
        0 => pcid >> 12 != 0 || without_pcids || !Cpu::canonical(address),
        1 => pcid >> 12 != 0 || without_pcids,
        2 | 3 => false,
        _ => true,
    };
    if wrong {
        return cpu.gp(0);
    }
    match kind {
        0 => cpu.mmu.flush_page_of(pcid as u16, address),
        1 => cpu.mmu.flush_space(pcid as u16),
        2 => cpu.mmu.flush_all(),
        _ => cpu.mmu.flush_spaces(),
    }
    Ok(())
}

fn may_use_keys(cpu: &mut Cpu) -> Result<(), Stop> {
    if cpu.cr4 & cr4::PKE == 0 {
        return cpu.ud();
    }
    if cpu.gpr[RCX] as u32 != 0 {
        return cpu.gp(0);
    }
    Ok(())
}

fn rdpkru(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    may_use_keys(cpu)?;
    cpu.gpr[RAX] = u64::from(cpu.pkru);
    cpu.gpr[RDX] = 0;
    Ok(())
}

fn wrpkru(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    may_use_keys(cpu)?;
    if cpu.gpr[RDX] as u32 != 0 {
        return cpu.gp(0);
    }
    cpu.set_pkru(cpu.gpr[RAX] as u32);
    Ok(())
}
