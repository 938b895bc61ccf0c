//! RFLAGS as a whole: PUSHF, POPF, CLI, STI, STAC, CLAC. Spec: Intel SDM Vol. 1, "EFLAGS Register";
//! Vol. 3, "Virtual-8086 Mode" for what IOPL does there.

use iced_x86::{Instruction, Mnemonic};
use x86::register::{cr4, rflags};

use super::vme;
use crate::cpu::features::has;
use crate::cpu::{Cpu, attention};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};
use crate::word::Word;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Pushf => pushf::<u16>,
        Mnemonic::Pushfd => pushf::<u32>,
        Mnemonic::Pushfq => pushf::<u64>,
        Mnemonic::Popf => popf::<u16>,
        Mnemonic::Popfd => popf::<u32>,
        Mnemonic::Popfq => popf::<u64>,
        Mnemonic::Cli => cli,
        Mnemonic::Sti => sti,
        Mnemonic::Stac => stac,
        Mnemonic::Clac => clac,
        _ => return None,
    };
    let op = Op::new(insn, context.code, run);
    match insn.mnemonic() {
        // These may switch interrupts on.
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq | Mnemonic::Sti => Lowered::ending(op),
        _ => Lowered::straight(op),
    }
}

/// Flags that any code may change with an operand of `size` bytes.
pub(crate) fn at_any_level(size: u8) -> u64 {
    let low = rflags::STATUS | rflags::TF | rflags::DF | rflags::NT;
    if size == 2 {
        low
    } else {
        low | rflags::RF | rflags::AC | rflags::ID
    }
}

/// Flags that IRET at level 0 may change.
pub(crate) fn at_level_0(size: u8) -> u64 {
    let all = at_any_level(size) | rflags::IF | rflags::IOPL;
    if size == 2 {
        all
    } else {
        all | rflags::VIF | rflags::VIP
    }
}

/// Flags that the current privilege may change by IRET, or by POPF.
pub(crate) fn writable(cpu: &Cpu, size: u8, iret: bool) -> u64 {
    let mut mask = if cpu.cpl == 0 {
        at_level_0(size)
    } else if cpu.cpl <= cpu.iopl() {
        at_any_level(size) | rflags::IF
    } else {
        at_any_level(size)
    };
    if !iret {
        mask &= !(rflags::VIF | rflags::VIP);
    }
    mask
}

/// Replaces the flags in `mask`. RF is kept only where an instruction breakpoint could heed it: the
/// run loop clears it after the next instruction, and looks there for nothing else.
pub(crate) fn merge(cpu: &mut Cpu, value: u64, mask: u64) {
    let mut flags = cpu.read_rflags() & !mask | value & mask;
    if cpu.attention & attention::BREAKPOINT == 0 {
        flags &= !rflags::RF;
    }
    cpu.write_rflags(flags);
}

fn pushf<T: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let mut flags = cpu.read_rflags() & !(rflags::RF | rflags::VM);
    if cpu.virtual_8086() && cpu.iopl() < 3 {
        if !vme::replaces(cpu, T::BYTES) {
            return cpu.gp(0);
        }
        flags = vme::pushed_flags(cpu);
    }
    cpu.push(T::from_u64(flags))
}

fn popf<T: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let restricted = cpu.virtual_8086() && cpu.iopl() < 3;
    if restricted && !vme::replaces(cpu, T::BYTES) {
        return cpu.gp(0);
    }
    let value = cpu.stack_at::<T>(0)?.to_u64();
    if restricted {
        vme::check_flags(cpu, value)?;
        vme::put_flags(cpu, value);
    } else {
        let mask = writable(cpu, T::BYTES, false);
        // RF is never popped, only cleared.
        merge(cpu, value & !rflags::RF, mask);
    }
    cpu.gpr[4] = cpu.moved_rsp(i64::from(T::BYTES));
    Ok(())
}

/// What CLI and STI change: IF, or VIF where the mode says so.
fn interrupt_flag(cpu: &mut Cpu) -> Result<u64, Stop> {
    if !cpu.protected() || cpu.cpl <= cpu.iopl() {
        return Ok(rflags::IF);
    }
    let virtual_flag = if cpu.virtual_8086() {
        cr4::VME
    } else {
        cr4::PVI
    };
    if cpu.cpl == 3 && cpu.cr4 & virtual_flag != 0 {
        return Ok(rflags::VIF);
    }
    cpu.gp(0)
}

fn cli(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let flag = interrupt_flag(cpu)?;
    cpu.rflags &= !flag;
    Ok(())
}

fn sti(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let flag = interrupt_flag(cpu)?;
    if flag == rflags::VIF {
        if cpu.rflags & rflags::VIP != 0 {
            return cpu.gp(0);
        }
    } else if cpu.rflags & rflags::IF == 0 {
        cpu.set_attention(attention::SHADOW, true);
        cpu.shadow_by_ss = false;
    }
    cpu.rflags |= flag;
    Ok(())
}

fn stac(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    set_ac(cpu, rflags::AC)
}

fn clac(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    set_ac(cpu, 0)
}

fn set_ac(cpu: &mut Cpu, ac: u64) -> Result<(), Stop> {
    if !cpu.features.has(has::SMAP) || cpu.cpl != 0 {
        return cpu.ud();
    }
    cpu.rflags = cpu.rflags & !rflags::AC | ac;
    cpu.choose_access();
    Ok(())
}
