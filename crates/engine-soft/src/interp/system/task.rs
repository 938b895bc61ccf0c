//! Hardware task switches. Spec: Intel SDM Vol. 3, "Task Switching" and "Task Management Data
//! Structures".
//!
//! Up to the commit every fault belongs to the old task and leaves it as it was. After it, faults
//! belong to the new task, at its first instruction: they are reported as [`Stop::Trap`], which
//! leaves RIP alone.

use x86::exception::vector;
use x86::register::{cr0, dr6, rflags};
use x86::{Exception, SegmentRegister};

use super::deliver::Event;
use super::descriptor::{Descriptor, is_null, system};
use super::stack::Stack;
use super::task_image::{self, Image};
use super::task_load;
use crate::cpu::Cpu;
use crate::interp::op::Stop;

/// Local breakpoint enables of DR7, which a task switch clears.
const DR7_LOCAL: u64 = 0x155;

/// What switches tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Jump,
    Call,
    /// An interrupt or exception through a task gate; it nests as a call does.
    Interrupt {
        ext: u16,
    },
    Return,
}

impl Reason {
    fn ext(self) -> u16 {
        match self {
            Reason::Interrupt { ext } => ext,
            _ => 0,
        }
    }

    /// Does the new task return to the old one?
    fn nests(self) -> bool {
        matches!(self, Reason::Call | Reason::Interrupt { .. })
    }

    /// The vector of faults in the new task's selector.
    fn fault(self) -> u8 {
        match self {
            Reason::Return => vector::TS,
            _ => vector::GP,
        }
    }
}

/// An interrupt through the task gate that names `selector`.
pub(crate) fn interrupt(cpu: &mut Cpu, selector: u16, event: &Event) -> Result<(), Stop> {
    let reason = Reason::Interrupt { ext: event.ext() };
    let switched = through_gate(cpu, selector, reason);
    if let (Ok(()) | Err(Stop::Trap), Some(code)) = (switched, event.error_code) {
        let size = if cpu.has_tss16() { 2 } else { 4 };
        let mut stack = Stack::current(cpu, event.ext());
        in_new_task(stack.push(cpu, size, u64::from(code)))?;
        stack.commit(cpu);
    }
    switched
}

/// JMP, CALL or an interrupt through a task gate that names `selector`.
pub(crate) fn through_gate(cpu: &mut Cpu, selector: u16, reason: Reason) -> Result<(), Stop> {
    let descriptor = find(cpu, selector, reason)?;
    switch(cpu, &descriptor, selector, reason)
}

/// IRET with NT set: back to the task that the back link names.
pub(crate) fn iret(cpu: &mut Cpu) -> Result<(), Stop> {
    let selector: u16 = cpu.read_system(cpu.tr.base)?;
    let descriptor = find(cpu, selector, Reason::Return)?;
    switch(cpu, &descriptor, selector, Reason::Return)
}

/// The descriptor of a task; it must lie in the GDT.
fn find(cpu: &mut Cpu, selector: u16, reason: Reason) -> Result<Descriptor, Stop> {
    let (fault, ext) = (reason.fault(), reason.ext());
    if is_null(selector) || selector & 4 != 0 {
        return cpu.selector_fault(fault, selector, ext);
    }
    cpu.descriptor(selector, fault, ext)
}

/// Switches to the task whose TSS `target` describes.
pub(crate) fn switch(
    cpu: &mut Cpu,
    target: &Descriptor,
    selector: u16,
    reason: Reason,
) -> Result<(), Stop> {
    check(cpu, target, selector, reason)?;
    let wide = target.kind() & 8 != 0;
    let base = target.segment(selector).base;
    let mut image = task_image::read(cpu, base, wide)?;
    let old = old_descriptor(cpu)?;
    task_image::prepare_save(cpu)?;
    if reason.nests() {
        let link = cpu.tr.selector;
        cpu.write_system(base, link)?;
        image.flags |= rflags::NT;
    }
    if !reason.nests() {
        cpu.mark_busy(&old, false)?;
    }
    if reason != Reason::Return {
        cpu.mark_busy(target, true)?;
    }
    let mut flags = cpu.read_rflags();
    if reason == Reason::Return {
        flags &= !rflags::NT;
    }
    task_image::save(cpu, flags)?;
    commit(cpu, target, selector, &image);
    in_new_task(task_load::segments(cpu, &image))?;
    if image.trap {
        cpu.dr[4] |= dr6::BT;
        cpu.fault = Exception::plain(vector::DB);
        return Err(Stop::Trap);
    }
    Ok(())
}

fn check(cpu: &mut Cpu, target: &Descriptor, selector: u16, reason: Reason) -> Result<(), Stop> {
    let returning = reason == Reason::Return;
    let right = match target.kind() {
        system::TSS16 | system::TSS => !returning,
        system::TSS16_BUSY | system::TSS_BUSY => returning,
        _ => false,
    };
    if !target.is_system() || !right {
        return cpu.selector_fault(reason.fault(), selector, reason.ext());
    }
    if !target.present() {
        return cpu.selector_fault(vector::NP, selector, reason.ext());
    }
    let least = if target.kind() & 8 != 0 { 0x67 } else { 0x2b };
    if target.segment(selector).limit < least {
        return cpu.selector_fault(vector::TS, selector, reason.ext());
    }
    Ok(())
}

/// The descriptor of the running task, whose busy bit changes.
fn old_descriptor(cpu: &mut Cpu) -> Result<Descriptor, Stop> {
    cpu.descriptor(cpu.tr.selector, vector::TS, 0)
}

/// The point of no return: TR, CR3, flags, general registers and EIP are the new task's.
fn commit(cpu: &mut Cpu, target: &Descriptor, selector: u16, image: &Image) {
    cpu.tr = target.segment(selector);
    cpu.tr.rights |= u16::from(system::BUSY);
    cpu.cr0 |= cr0::TS;
    cpu.dr[5] &= !DR7_LOCAL;
    cpu.update_breakpoints();
    if let Some(cr3) = image.cr3
        && cpu.cr0 & cr0::PG != 0
        && cpu.cr3 != cr3
    {
        cpu.cr3 = cr3;
        // There are no PCIDs outside long mode.
        cpu.mmu.enter_space(0, false);
    }
    cpu.gpr[..8].copy_from_slice(&image.registers);
    cpu.rip = image.ip;
    cpu.cpl = if image.flags & rflags::VM != 0 {
        3
    } else {
        (image.selectors[SegmentRegister::Cs as usize] & 3) as u8
    };
    let known = super::flags::at_level_0(4) | rflags::VM;
    super::flags::merge(cpu, image.flags, known);
}

/// Turns a fault into one of the new task's.
fn in_new_task<T>(result: Result<T, Stop>) -> Result<T, Stop> {
    result.map_err(|stop| match stop {
        Stop::Fault => Stop::Trap,
        other => other,
    })
}
