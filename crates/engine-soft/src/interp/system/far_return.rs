//! Far RET and IRET. Spec: Intel SDM Vol. 2, "RET" and "IRET/IRETD/IRETQ".

use iced_x86::{Code, Instruction};
use x86::SegmentRegister::{Cs, Ds, Es, Fs, Gs, Ss};
use x86::register::gpr::RSP;
use x86::register::rflags;
use x86::{Segment, SegmentRegister};

use super::descriptor::{Descriptor, rpl};
use super::segment::virtual_8086;
use super::stack::Stack;
use super::{flags, task, vme};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let (run, size): (Handler, u8) = match insn.code() {
        Code::Retfw | Code::Retfw_imm16 => (retf, 2),
        Code::Retfd | Code::Retfd_imm16 => (retf, 4),
        Code::Retfq | Code::Retfq_imm16 => (retf, 8),
        Code::Iretw => (iret, 2),
        Code::Iretd => (iret, 4),
        Code::Iretq => (iret, 8),
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    op.size = size;
    if insn.op_count() == 1 {
        op.imm = u64::from(insn.immediate16());
    }
    Lowered::ending(op)
}

fn retf(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let mut stack = Stack::current(cpu, 0);
    let ip = stack.pop(cpu, op.size)?;
    let selector = stack.pop(cpu, op.size)? as u16;
    if !cpu.uses_descriptors() {
        let segment = cpu.real_segment(Cs, selector);
        if ip > u64::from(segment.limit) {
            return cpu.gp(0);
        }
        stack.release(op.imm);
        stack.commit(cpu);
        cpu.put_segment(Cs, segment);
        cpu.rip = ip;
        return Ok(());
    }
    let target = cpu.return_target(selector)?;
    cpu.check_code_offset(&target.segment(selector), ip, 0)?;
    stack.release(op.imm);
    let outer = if rpl(selector) > cpu.cpl {
        Some(pop_outer(cpu, &mut stack, &target, selector, op.size)?)
    } else {
        None
    };
    cpu.mark_accessed(&target)?;
    let Some((segment, sp)) = outer else {
        stack.commit(cpu);
        cpu.put_code(&target, selector, cpu.cpl, ip);
        return Ok(());
    };
    return_to(cpu, &target, selector, ip, &segment, sp);
    // The parameters are released from the outer stack too.
    let mut stack = Stack::current(cpu, 0);
    stack.release(op.imm);
    stack.commit(cpu);
    cpu.drop_inner_segments();
    Ok(())
}

/// Pops SP and SS of the level returned to.
fn pop_outer(
    cpu: &mut Cpu,
    stack: &mut Stack,
    target: &Descriptor,
    selector: u16,
    size: u8,
) -> Result<(Segment, u64), Stop> {
    let sp = stack.pop(cpu, size)?;
    let ss = stack.pop(cpu, size)? as u16;
    let to_long = cpu.long_mode() && target.is_long();
    let segment = cpu.return_stack(ss, rpl(selector), to_long)?;
    Ok((segment, sp))
}

/// Changes to the code, stack and privilege returned to.
fn return_to(cpu: &mut Cpu, target: &Descriptor, selector: u16, ip: u64, ss: &Segment, sp: u64) {
    cpu.cpl = rpl(selector);
    cpu.put_segment_early(Ss, *ss);
    cpu.put_code(target, selector, rpl(selector), ip);
    // Only SP is restored where the stack is a 16-bit one: ESP's upper half is the inner level's.
    cpu.gpr[RSP] = match cpu.stack_mask {
        0xffff => cpu.gpr[RSP] & !0xffff | sp & 0xffff,
        mask => sp & mask,
    };
}

fn iret(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let returned = if !cpu.protected() {
        iret_real(cpu, op.size)
    } else if cpu.virtual_8086() {
        iret_virtual_8086(cpu, op.size)
    } else if cpu.rflags & rflags::NT == 0 {
        iret_protected(cpu, op.size)
    } else if cpu.long_mode() {
        cpu.gp(0)
    } else {
        task::iret(cpu)
    };
    // A trap is the new task's: the return to it is complete.
    if matches!(returned, Ok(()) | Err(Stop::Trap)) {
        cpu.events.nmi_masked = false;
    }
    returned
}

/// Pops IP, CS and FLAGS.
fn pop_frame(cpu: &mut Cpu, stack: &mut Stack, size: u8) -> Result<(u64, u16, u64), Stop> {
    let ip = stack.pop(cpu, size)?;
    let selector = stack.pop(cpu, size)? as u16;
    let flags = stack.pop(cpu, size)?;
    Ok((ip, selector, flags))
}

fn iret_real(cpu: &mut Cpu, size: u8) -> Result<(), Stop> {
    let flags = return_unprotected(cpu, size)?;
    flags::merge(
        cpu,
        flags,
        flags::at_level_0(size) & !(rflags::VIF | rflags::VIP),
    );
    Ok(())
}

fn iret_virtual_8086(cpu: &mut Cpu, size: u8) -> Result<(), Stop> {
    if cpu.iopl() == 3 {
        let flags = return_unprotected(cpu, size)?;
        flags::merge(cpu, flags, flags::at_any_level(size) | rflags::IF);
        return Ok(());
    }
    if !vme::replaces(cpu, size) {
        return cpu.gp(0);
    }
    let flags = Stack::current(cpu, 0).peek(cpu, 2, 4)?;
    vme::check_flags(cpu, flags)?;
    return_unprotected(cpu, size)?;
    vme::put_flags(cpu, flags);
    Ok(())
}

/// Pops and loads CS:IP as real and virtual-8086 mode do; answers the popped flags.
fn return_unprotected(cpu: &mut Cpu, size: u8) -> Result<u64, Stop> {
    let mut stack = Stack::current(cpu, 0);
    let (ip, selector, flags) = pop_frame(cpu, &mut stack, size)?;
    let segment = cpu.real_segment(Cs, selector);
    if ip > u64::from(segment.limit) {
        return cpu.gp(0);
    }
    stack.commit(cpu);
    cpu.put_segment(Cs, segment);
    cpu.rip = ip;
    Ok(flags)
}

fn iret_protected(cpu: &mut Cpu, size: u8) -> Result<(), Stop> {
    let mut stack = Stack::current(cpu, 0);
    if size == 8
        && let Some(frame) = stack.next_words(cpu)
    {
        return iret_long(cpu, frame);
    }
    let (ip, selector, flags) = pop_frame(cpu, &mut stack, size)?;
    let to_virtual = flags & rflags::VM != 0 && cpu.cpl == 0 && size == 4;
    if to_virtual && !cpu.long_mode() {
        return to_virtual_8086(cpu, &mut stack, ip, selector, flags);
    }
    let target = cpu.return_target(selector)?;
    cpu.check_code_offset(&target.segment(selector), ip, 0)?;
    let outer = rpl(selector) > cpu.cpl;
    let new_stack = if outer || cpu.code_size == CodeSize::Bits64 {
        Some(pop_outer(cpu, &mut stack, &target, selector, size)?)
    } else {
        None
    };
    cpu.mark_accessed(&target)?;
    let mask = flags::writable(cpu, size, true);
    match new_stack {
        Some((segment, sp)) => return_to(cpu, &target, selector, ip, &segment, sp),
        None => {
            stack.commit(cpu);
            cpu.put_code(&target, selector, cpu.cpl, ip);
        }
    }
    flags::merge(cpu, flags, mask);
    if outer {
        cpu.drop_inner_segments();
    }
    Ok(())
}

/// IRETQ with all five words of the frame.
fn iret_long(cpu: &mut Cpu, frame: [u64; 5]) -> Result<(), Stop> {
    let [ip, selector, flags, sp, ss] = frame;
    let selector = selector as u16;
    let target = cpu.return_target(selector)?;
    cpu.check_code_offset(&target.segment(selector), ip, 0)?;
    let outer = rpl(selector) > cpu.cpl;
    let segment = cpu.return_stack(ss as u16, rpl(selector), target.is_long())?;
    cpu.mark_accessed(&target)?;
    let mask = flags::writable(cpu, 8, true);
    return_to(cpu, &target, selector, ip, &segment, sp);
    flags::merge(cpu, flags, mask);
    if outer {
        cpu.drop_inner_segments();
    }
    Ok(())
}

fn to_virtual_8086(
    cpu: &mut Cpu,
    stack: &mut Stack,
    ip: u64,
    selector: u16,
    flags: u64,
) -> Result<(), Stop> {
    const ORDER: [SegmentRegister; 5] = [Ss, Es, Ds, Fs, Gs];
    let esp = stack.pop(cpu, 4)?;
    let mut selectors = [0; 5];
    for slot in &mut selectors {
        *slot = stack.pop(cpu, 4)? as u16;
    }
    if ip > 0xffff {
        return cpu.gp(0);
    }
    cpu.cpl = 3;
    flags::merge(cpu, flags, flags::at_level_0(4) | rflags::VM);
    for (register, selector) in ORDER.into_iter().zip(selectors) {
        cpu.put_segment(register, virtual_8086(selector));
    }
    cpu.put_segment(Cs, virtual_8086(selector));
    cpu.gpr[RSP] = esp;
    cpu.rip = ip;
    Ok(())
}
