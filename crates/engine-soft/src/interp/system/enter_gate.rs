//! Entry to a handler through the gates of protected mode, from virtual-8086 mode too.
//! Spec: Intel SDM Vol. 3, "Exception and Interrupt Handling in Protected Mode" and "Handling
//! Interrupts and Exceptions in Virtual-8086 Mode".

use x86::SegmentRegister::{Cs, Ds, Es, Fs, Gs, Ss};
use x86::exception::vector;
use x86::register::gpr::RSP;

use super::deliver::{Event, Source, clear_flags};
use super::descriptor::{Descriptor, system};
use super::segment::null;
use super::stack::Stack;
use super::task;
use crate::cpu::Cpu;
use crate::interp::op::Stop;

pub(crate) fn enter(cpu: &mut Cpu, event: &Event) -> Result<(), Stop> {
    let offset = u64::from(event.vector) * 8;
    if offset + 7 > u64::from(cpu.idtr.limit) {
        return cpu.gp(event.idt_code());
    }
    let address = cpu.table_address(cpu.idtr.base, offset);
    let raw = cpu.read_system(address)?;
    let gate = Descriptor { raw, address };
    check_gate(cpu, event, &gate)?;
    if gate.kind() == system::TASK_GATE {
        return task::interrupt(cpu, gate_selector(raw), event);
    }
    through_gate(cpu, event, &gate)
}

fn gate_selector(raw: u64) -> u16 {
    (raw >> 16) as u16
}

fn check_gate(cpu: &mut Cpu, event: &Event, gate: &Descriptor) -> Result<(), Stop> {
    let known = matches!(
        gate.kind(),
        system::TASK_GATE | system::INTERRUPT16 | system::TRAP16 | system::INTERRUPT | system::TRAP
    );
    let denied = event.source == Source::Software && gate.dpl() < cpu.cpl;
    if !gate.is_system() || !known || denied {
        return cpu.gp(event.idt_code());
    }
    if !gate.present() {
        let code = u32::from(event.idt_code());
        return cpu.raise(x86::Exception::with_code(vector::NP, code));
    }
    Ok(())
}

fn through_gate(cpu: &mut Cpu, event: &Event, gate: &Descriptor) -> Result<(), Stop> {
    let raw = gate.raw;
    let wide = gate.kind() & 8 != 0;
    let size = if wide { 4 } else { 2 };
    let high = if wide { raw >> 32 & 0xffff_0000 } else { 0 };
    let offset = raw & 0xffff | high;
    let selector = gate_selector(raw);
    let (descriptor, level) = cpu.gate_target(selector, event.ext())?;
    if cpu.virtual_8086() && level != 0 {
        return cpu.selector_fault(vector::GP, selector, event.ext());
    }
    let segment = descriptor.segment(selector);
    let inner = if level < cpu.cpl {
        Some(cpu.inner_stack(level, event.ext())?)
    } else {
        None
    };
    cpu.check_code_offset(&segment, offset, event.ext())?;
    let mut stack = match inner {
        Some((_, stack)) => stack,
        None => Stack::current(cpu, event.ext()),
    };
    push_frame(cpu, event, &mut stack, size, inner.is_some())?;
    cpu.mark_accessed(&descriptor)?;
    if let Some((ss, _)) = inner {
        if cpu.virtual_8086() {
            for register in [Es, Ds, Fs, Gs] {
                cpu.put_segment(register, null(0));
            }
        }
        cpu.cpl = level;
        cpu.put_segment(Ss, ss);
    }
    stack.commit(cpu);
    let interrupt_gate = gate.kind() & 1 == 0;
    clear_flags(cpu, interrupt_gate);
    cpu.put_code(&descriptor, selector, level, offset);
    Ok(())
}

fn push_frame(
    cpu: &mut Cpu,
    event: &Event,
    stack: &mut Stack,
    size: u8,
    inner: bool,
) -> Result<(), Stop> {
    let selector = |cpu: &Cpu, register| u64::from(cpu.segment(register).selector);
    if inner {
        if cpu.virtual_8086() {
            for register in [Gs, Fs, Ds, Es] {
                stack.push(cpu, size, selector(cpu, register))?;
            }
        }
        stack.push(cpu, size, selector(cpu, Ss))?;
        stack.push(cpu, size, cpu.gpr[RSP])?;
    }
    stack.push(cpu, size, event.saved_flags(cpu))?;
    stack.push(cpu, size, selector(cpu, Cs))?;
    stack.push(cpu, size, cpu.rip)?;
    if let Some(code) = event.error_code {
        stack.push(cpu, size, u64::from(code))?;
    }
    Ok(())
}
