//! Virtual-8086 mode extensions: an interrupt flag of the 8086 task's own, and software interrupts
//! that stay inside it. Spec: Intel SDM Vol. 3, "8086 Emulation", "Class 3: Software Interrupt
//! Handling Methods".

use x86::register::{cr4, rflags};

use super::deliver::{self, Source};
use super::{enter_real, flags};
use crate::cpu::Cpu;
use crate::interp::op::Stop;

/// Offset of the I/O map base in a 32-bit TSS.
const IO_MAP_BASE: u64 = 102;

/// Do the extensions do what IOPL < 3 would forbid? Only with 16-bit operands.
pub(crate) fn replaces(cpu: &Cpu, size: u8) -> bool {
    cpu.cr4 & cr4::VME != 0 && size == 2
}

/// FLAGS as PUSHF and INT n store them: VIF in the place of IF, and IOPL 3.
pub(crate) fn pushed_flags(cpu: &Cpu) -> u64 {
    let flags = cpu.read_rflags() & !(rflags::RF | rflags::VM | rflags::IF);
    let virtual_if = if cpu.rflags & rflags::VIF != 0 {
        rflags::IF
    } else {
        0
    };
    flags | virtual_if | rflags::IOPL
}

/// #GP(0) where POPF or IRET would start a step, or enable interrupts with one pending.
pub(crate) fn check_flags(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    let pending = cpu.rflags & rflags::VIP != 0 && value & rflags::IF != 0;
    if pending || value & rflags::TF != 0 {
        return cpu.gp(0);
    }
    Ok(())
}

/// The popped flags, with IF going to VIF.
pub(crate) fn put_flags(cpu: &mut Cpu, value: u64) {
    let virtual_if = if value & rflags::IF != 0 {
        rflags::VIF
    } else {
        0
    };
    let mask = flags::at_any_level(2) | rflags::VIF;
    flags::merge(cpu, value & 0xffff | virtual_if, mask);
}

/// INT n in virtual-8086 mode.
pub(crate) fn software_interrupt(cpu: &mut Cpu, vector: u8) -> Result<(), Stop> {
    let iopl = cpu.iopl();
    if cpu.cr4 & cr4::VME != 0 && stays_inside(cpu, vector)? {
        return enter_inside(cpu, vector);
    }
    if iopl < 3 {
        return cpu.gp(0);
    }
    deliver::enter(cpu, vector, None, Source::Software)
}

/// Does the interrupt redirection bitmap leave this vector to the 8086 task's own handler?
fn stays_inside(cpu: &mut Cpu, vector: u8) -> Result<bool, Stop> {
    let limit = u64::from(cpu.tr.limit);
    if cpu.has_tss16() || limit < IO_MAP_BASE + 1 {
        return Ok(false);
    }
    let at = cpu.table_address(cpu.tr.base, IO_MAP_BASE);
    let map: u16 = cpu.read_system(at)?;
    // The 32 bytes of the redirection bitmap end where the I/O map begins.
    let byte = i64::from(map) - 32 + i64::from(vector >> 3);
    let Ok(byte) = u64::try_from(byte) else {
        return Ok(false);
    };
    if byte > limit {
        return cpu.gp(0);
    }
    let bits: u8 = cpu.read_system(cpu.table_address(cpu.tr.base, byte))?;
    Ok(bits & 1 << (vector & 7) == 0)
}

fn enter_inside(cpu: &mut Cpu, vector: u8) -> Result<(), Stop> {
    let restricted = cpu.iopl() < 3;
    let pushed = if restricted {
        pushed_flags(cpu)
    } else {
        cpu.read_rflags()
    };
    // The 8086 task's vector table is at its own linear address 0, read with its own rights.
    let entry = cpu.read_ram(u64::from(vector) * 4, 4)? as u32;
    enter_real::through_vector(cpu, entry, pushed)?;
    let own = if restricted { rflags::VIF } else { rflags::IF };
    let cleared = rflags::TF | rflags::RF | own;
    let flags = cpu.read_rflags() & !cleared;
    cpu.write_rflags(flags);
    Ok(())
}
