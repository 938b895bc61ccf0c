//! A new task's segment registers, checked as the task's own. Faults are #TS with the selector.
//! Spec: Intel SDM Vol. 3, "Task Switching", the table of exception conditions.

use x86::exception::vector;
use x86::register::rflags;
use x86::{Segment, SegmentRegister};

use super::descriptor::{is_null, rpl, system};
use super::segment::{null, virtual_8086};
use super::task_image::{Image, REGISTERS, unloaded};
use crate::cpu::Cpu;
use crate::interp::op::Stop;

/// Loads LDTR and the segment registers of `image`. The privilege level is set already.
pub(crate) fn segments(cpu: &mut Cpu, image: &Image) -> Result<(), Stop> {
    let virtual_mode = image.flags & rflags::VM != 0;
    for (register, selector) in REGISTERS.into_iter().zip(image.selectors) {
        let segment = if virtual_mode {
            virtual_8086(selector)
        } else {
            unloaded(selector)
        };
        cpu.put_segment(register, segment);
    }
    load_ldt(cpu, image.ldt)?;
    if !virtual_mode {
        let selector = |register| image.selectors[register as usize];
        let code = code(cpu, selector(SegmentRegister::Cs))?;
        cpu.put_segment(SegmentRegister::Cs, code);
        let stack = stack(cpu, selector(SegmentRegister::Ss))?;
        cpu.put_segment(SegmentRegister::Ss, stack);
        use SegmentRegister::{Ds, Es, Fs, Gs};
        for register in [Es, Ds, Fs, Gs] {
            let segment = data(cpu, selector(register))?;
            cpu.put_segment(register, segment);
        }
    }
    let code = *cpu.segment(SegmentRegister::Cs);
    cpu.check_code_offset(&code, cpu.rip, 0)
}

fn load_ldt(cpu: &mut Cpu, selector: u16) -> Result<(), Stop> {
    cpu.ldtr = unloaded(selector);
    if is_null(selector) {
        return Ok(());
    }
    if selector & 4 != 0 {
        return wrong(cpu, selector);
    }
    let descriptor = cpu.descriptor(selector, vector::TS, 0)?;
    let is_ldt = descriptor.is_system() && descriptor.kind() == system::LDT;
    if !is_ldt || !descriptor.present() {
        return wrong(cpu, selector);
    }
    cpu.ldtr = descriptor.segment(selector);
    Ok(())
}

fn wrong<T>(cpu: &mut Cpu, selector: u16) -> Result<T, Stop> {
    cpu.selector_fault(vector::TS, selector, 0)
}

fn code(cpu: &mut Cpu, selector: u16) -> Result<Segment, Stop> {
    if is_null(selector) {
        return wrong(cpu, selector);
    }
    let descriptor = cpu.descriptor(selector, vector::TS, 0)?;
    let right_level = if descriptor.is_conforming() {
        descriptor.dpl() <= rpl(selector)
    } else {
        descriptor.dpl() == rpl(selector)
    };
    if !descriptor.is_code() || !right_level {
        return wrong(cpu, selector);
    }
    if !descriptor.present() {
        return cpu.selector_fault(vector::NP, selector, 0);
    }
    cpu.mark_accessed(&descriptor)?;
    Ok(descriptor.segment(selector))
}

fn stack(cpu: &mut Cpu, selector: u16) -> Result<Segment, Stop> {
    if is_null(selector) {
        return wrong(cpu, selector);
    }
    let descriptor = cpu.descriptor(selector, vector::TS, 0)?;
    let right_level = descriptor.dpl() == cpu.cpl && rpl(selector) == cpu.cpl;
    if !descriptor.is_writable_data() || !right_level {
        return wrong(cpu, selector);
    }
    if !descriptor.present() {
        return cpu.selector_fault(vector::SS, selector, 0);
    }
    cpu.mark_accessed(&descriptor)?;
    Ok(descriptor.segment(selector))
}

fn data(cpu: &mut Cpu, selector: u16) -> Result<Segment, Stop> {
    if is_null(selector) {
        return Ok(null(selector));
    }
    let descriptor = cpu.descriptor(selector, vector::TS, 0)?;
    let least = cpu.cpl.max(rpl(selector));
    let denied = !descriptor.is_conforming() && least > descriptor.dpl();
    if !descriptor.is_readable() || denied {
        return wrong(cpu, selector);
    }
    if !descriptor.present() {
        return cpu.selector_fault(vector::NP, selector, 0);
    }
    cpu.mark_accessed(&descriptor)?;
    Ok(descriptor.segment(selector))
}
