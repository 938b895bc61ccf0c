//! Entry to a handler through the 16-byte gates of long mode. Spec: Intel SDM Vol. 3, "Exception and
//! Interrupt Handling in 64-bit Mode".

use x86::SegmentRegister::{Cs, Ss};
use x86::exception::vector;
use x86::register::gpr::RSP;

use super::deliver::{Event, Source, clear_flags};
use super::descriptor::{Descriptor, system};
use super::segment::null_stack;
use super::stack::Stack;
use crate::cpu::Cpu;
use crate::interp::op::Stop;

pub(crate) fn enter(cpu: &mut Cpu, event: &Event) -> Result<(), Stop> {
    let gate = find_gate(cpu, event)?;
    let high: u64 = cpu.read_system(gate.address.wrapping_add(8))?;
    let raw = gate.raw;
    let offset = raw & 0xffff | raw >> 32 & 0xffff_0000 | high << 32;
    let selector = (raw >> 16) as u16;
    let ist = (raw >> 32 & 7) as u8;
    let (descriptor, level) = cpu.gate_target(selector, event.ext())?;
    if !Cpu::canonical(offset) {
        return cpu.gp(event.ext());
    }
    let rsp = if ist != 0 {
        cpu.ist_rsp(ist, event.ext())?
    } else if level < cpu.cpl {
        cpu.inner_rsp(level, event.ext())?
    } else {
        cpu.gpr[RSP]
    };
    let mut stack = Stack::long(rsp & !0xf, level, event.ext());
    push_frame(cpu, event, &mut stack)?;
    cpu.mark_accessed(&descriptor)?;
    if level < cpu.cpl {
        cpu.cpl = level;
        cpu.put_segment_early(Ss, null_stack(level));
    }
    stack.commit(cpu);
    let interrupt_gate = gate.kind() == system::INTERRUPT;
    clear_flags(cpu, interrupt_gate);
    cpu.put_code(&descriptor, selector, level, offset);
    Ok(())
}

fn find_gate(cpu: &mut Cpu, event: &Event) -> Result<Descriptor, Stop> {
    let offset = u64::from(event.vector) * 16;
    if offset + 15 > u64::from(cpu.idtr.limit) {
        return cpu.gp(event.idt_code());
    }
    let address = cpu.idtr.base.wrapping_add(offset);
    let raw = cpu.read_system(address)?;
    let gate = Descriptor { raw, address };
    let known = matches!(gate.kind(), system::INTERRUPT | system::TRAP);
    let denied = event.source == Source::Software && gate.dpl() < cpu.cpl;
    if !gate.is_system() || !known || denied {
        return cpu.gp(event.idt_code());
    }
    if !gate.present() {
        let code = u32::from(event.idt_code());
        return cpu.raise(x86::Exception::with_code(vector::NP, code));
    }
    Ok(gate)
}

fn push_frame(cpu: &mut Cpu, event: &Event, stack: &mut Stack) -> Result<(), Stop> {
    // As they lie in memory: what is pushed last comes first, and an error code before all.
    let frame = [
        event.error_code.map_or(0, u64::from),
        cpu.rip,
        u64::from(cpu.segment(Cs).selector),
        event.saved_flags(cpu),
        cpu.gpr[RSP],
        u64::from(cpu.segment(Ss).selector),
    ];
    let frame = match event.error_code {
        Some(_) => &frame[..],
        None => &frame[1..],
    };
    stack.push_words(cpu, frame)
}
