//! Entry to a handler through the interrupt vector table. Spec: Intel SDM Vol. 3, "Interrupt and
//! Exception Handling" of "8086 Emulation".

use x86::SegmentRegister;
use x86::register::rflags;

use super::deliver::Event;
use super::stack::Stack;
use crate::cpu::Cpu;
use crate::interp::op::Stop;

/// Real mode. No error code is pushed.
pub(crate) fn enter(cpu: &mut Cpu, event: &Event) -> Result<(), Stop> {
    let offset = u64::from(event.vector) * 4;
    if offset + 3 > u64::from(cpu.idtr.limit) {
        return cpu.gp(event.idt_code());
    }
    let entry: u32 = cpu.read_system(cpu.table_address(cpu.idtr.base, offset))?;
    let flags = event.saved_flags(cpu);
    through_vector(cpu, entry, flags)?;
    let cleared = rflags::IF | rflags::TF | rflags::AC | rflags::RF;
    let flags = cpu.read_rflags() & !cleared;
    cpu.write_rflags(flags);
    Ok(())
}

/// Pushes FLAGS, CS and IP, and goes to the far pointer `entry`; RFLAGS stay.
pub(crate) fn through_vector(cpu: &mut Cpu, entry: u32, flags: u64) -> Result<(), Stop> {
    let selector = (entry >> 16) as u16;
    let mut stack = Stack::current(cpu, 0);
    stack.push(cpu, 2, flags)?;
    stack.push(cpu, 2, u64::from(cpu.segment(SegmentRegister::Cs).selector))?;
    stack.push(cpu, 2, cpu.rip)?;
    stack.commit(cpu);
    cpu.load_real_segment(SegmentRegister::Cs, selector);
    cpu.rip = u64::from(entry & 0xffff);
    Ok(())
}
