//! FWAIT, FNINIT, FNCLEX, FNSTSW, FNSTCW, FLDCW. Spec: Intel SDM Vol. 2.

use x86::register::cr0;

use super::words::{self, EXCEPTIONS, PENDING};
use crate::cpu::Cpu;
use crate::interp::op::{Op, Stop};

/// FWAIT: the only x87 instruction that looks at CR0.MP.
pub(super) fn wait(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let both = cr0::MP | cr0::TS;
    if cpu.cr0 & both == both {
        return cpu.nm();
    }
    cpu.x87_wait()
}

/// FNENI, FNDISI, FNSETPM: meaningless since the 80387.
pub(super) fn nothing(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()
}

pub(super) fn fninit(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    words::initialise(&mut cpu.fpu);
    Ok(())
}

pub(super) fn fnclex(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    const STACK_FAULT: u16 = 0x40;
    cpu.may_use_x87()?;
    cpu.fpu.status &= !(EXCEPTIONS | STACK_FAULT | PENDING);
    Ok(())
}

pub(super) fn fnstsw_ax(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    cpu.gpr[0] = cpu.gpr[0] & !0xffff | u64::from(cpu.fpu.status);
    Ok(())
}

pub(super) fn fnstsw(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    let status = cpu.fpu.status;
    cpu.store(op, status)
}

pub(super) fn fnstcw(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    let control = cpu.fpu.control;
    cpu.store(op, control)
}

pub(super) fn fldcw(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    cpu.x87_wait()?;
    let control = cpu.load(op)?;
    words::put_control(&mut cpu.fpu, control);
    Ok(())
}
