//! Far JMP and CALL: to code segments, through call gates, to other tasks. Spec: Intel SDM Vol. 2,
//! "JMP" and "CALL"; Vol. 3, "Accessing a Code Segment Through a Call Gate".

use iced_x86::{Code, Instruction, OpKind};
use x86::SegmentRegister::{Cs, Ss};
use x86::exception::vector;
use x86::register::gpr::RSP;

use super::descriptor::{Descriptor, is_null, rpl, system};
use super::segment::null_stack;
use super::stack::Stack;
use super::task::{self, Reason};
use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

/// Is it a JMP or a CALL?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jump,
    Call,
}

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let (direct, kind, size): (bool, Kind, u8) = match insn.code() {
        Code::Jmp_ptr1616 => (true, Kind::Jump, 2),
        Code::Jmp_ptr1632 => (true, Kind::Jump, 4),
        Code::Call_ptr1616 => (true, Kind::Call, 2),
        Code::Call_ptr1632 => (true, Kind::Call, 4),
        Code::Jmp_m1616 => (false, Kind::Jump, 2),
        Code::Jmp_m1632 => (false, Kind::Jump, 4),
        Code::Jmp_m1664 => (false, Kind::Jump, 8),
        Code::Call_m1616 => (false, Kind::Call, 2),
        Code::Call_m1632 => (false, Kind::Call, 4),
        Code::Call_m1664 => (false, Kind::Call, 8),
        _ => return None,
    };
    let run: Handler = match (direct, kind) {
        (true, Kind::Jump) => jmp_direct,
        (true, Kind::Call) => call_direct,
        (false, Kind::Jump) => jmp_indirect,
        (false, Kind::Call) => call_indirect,
    };
    let mut op = Op::new(insn, context.code, run);
    op.size = size;
    match insn.op0_kind() {
        OpKind::FarBranch16 => {
            op.imm = u64::from(insn.far_branch16());
            op.extra = u32::from(insn.far_branch_selector());
        }
        OpKind::FarBranch32 => {
            op.imm = u64::from(insn.far_branch32());
            op.extra = u32::from(insn.far_branch_selector());
        }
        _ => {}
    }
    Lowered::ending(op)
}

fn jmp_direct(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    transfer(cpu, op.extra as u16, op.imm, op.size, Kind::Jump)
}

fn call_direct(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    transfer(cpu, op.extra as u16, op.imm, op.size, Kind::Call)
}

fn jmp_indirect(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (selector, offset) = cpu.load_far_pointer(op)?;
    transfer(cpu, selector, offset, op.size, Kind::Jump)
}

fn call_indirect(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (selector, offset) = cpu.load_far_pointer(op)?;
    transfer(cpu, selector, offset, op.size, Kind::Call)
}

impl Cpu {
    /// Reads the far pointer operand: an offset of `op.size` bytes, then a selector.
    pub(crate) fn load_far_pointer(&mut self, op: &Op) -> Result<(u16, u64), Stop> {
        let at = self.linear(op, u32::from(op.size) + 2, false)?;
        let offset = match op.size {
            2 => u64::from(self.read::<u16>(at)?),
            4 => u64::from(self.read::<u32>(at)?),
            _ => self.read::<u64>(at)?,
        };
        let selector = self.read::<u16>(at.wrapping_add(u64::from(op.size)))?;
        Ok((selector, offset))
    }
}

fn transfer(cpu: &mut Cpu, selector: u16, offset: u64, size: u8, kind: Kind) -> Result<(), Stop> {
    if !cpu.uses_descriptors() {
        return real(cpu, selector, offset, size, kind);
    }
    if is_null(selector) {
        return cpu.gp(0);
    }
    let target = cpu.descriptor(selector, vector::GP, 0)?;
    if target.is_code() {
        return to_segment(cpu, &target, selector, offset, size, kind);
    }
    let long = cpu.long_mode();
    match target.kind() {
        _ if !target.is_system() => cpu.gp_selector(selector),
        system::CALL => through_gate(cpu, &target, selector, kind),
        system::CALL16 if !long => through_gate(cpu, &target, selector, kind),
        system::TASK_GATE | system::TSS16 | system::TSS if !long => {
            to_task(cpu, &target, selector, kind)
        }
        _ => cpu.gp_selector(selector),
    }
}

fn real(cpu: &mut Cpu, selector: u16, offset: u64, size: u8, kind: Kind) -> Result<(), Stop> {
    let segment = cpu.real_segment(Cs, selector);
    if offset > u64::from(segment.limit) {
        return cpu.gp(0);
    }
    if kind == Kind::Call {
        push_return(cpu, size)?;
    }
    cpu.put_segment(Cs, segment);
    cpu.rip = offset;
    Ok(())
}

/// Pushes CS and the return address on the current stack.
fn push_return(cpu: &mut Cpu, size: u8) -> Result<(), Stop> {
    let mut stack = Stack::current(cpu, 0);
    push_pointer(cpu, &mut stack, size)?;
    stack.commit(cpu);
    Ok(())
}

fn push_pointer(cpu: &mut Cpu, stack: &mut Stack, size: u8) -> Result<(), Stop> {
    stack.push(cpu, size, u64::from(cpu.segment(Cs).selector))?;
    stack.push(cpu, size, cpu.rip)
}

fn to_segment(
    cpu: &mut Cpu,
    target: &Descriptor,
    selector: u16,
    offset: u64,
    size: u8,
    kind: Kind,
) -> Result<(), Stop> {
    let denied = if target.is_conforming() {
        target.dpl() > cpu.cpl
    } else {
        rpl(selector) > cpu.cpl || target.dpl() != cpu.cpl
    };
    if denied || !cpu.valid_code_size(target) {
        return cpu.gp_selector(selector);
    }
    if !target.present() {
        return cpu.selector_fault(vector::NP, selector, 0);
    }
    cpu.check_code_offset(&target.segment(selector), offset, 0)?;
    cpu.mark_accessed(target)?;
    if kind == Kind::Call {
        push_return(cpu, size)?;
    }
    cpu.put_code(target, selector, cpu.cpl, offset);
    Ok(())
}

/// What a call gate says.
struct Gate {
    selector: u16,
    offset: u64,
    /// Operand size of what is pushed.
    size: u8,
    /// How many parameters of `size` bytes are copied to an inner stack.
    parameters: u8,
}

fn read_gate(cpu: &mut Cpu, gate: &Descriptor, selector: u16) -> Result<Gate, Stop> {
    let raw = gate.raw;
    let offset = raw & 0xffff | raw >> 32 & 0xffff_0000;
    let parameters = (raw >> 32 & 0x1f) as u8;
    let (offset, size, parameters) = if cpu.long_mode() {
        let Some(high) = cpu.descriptor_high(selector)? else {
            return cpu.gp_selector(selector);
        };
        if high >> 40 & 0x1f != 0 {
            return cpu.gp_selector(selector);
        }
        (offset | high << 32, 8, 0)
    } else if gate.kind() == system::CALL16 {
        (offset & 0xffff, 2, parameters)
    } else {
        (offset, 4, parameters)
    };
    Ok(Gate {
        selector: (raw >> 16) as u16,
        offset,
        size,
        parameters,
    })
}

fn through_gate(
    cpu: &mut Cpu,
    descriptor: &Descriptor,
    selector: u16,
    kind: Kind,
) -> Result<(), Stop> {
    check_gate(cpu, descriptor, selector)?;
    let gate = read_gate(cpu, descriptor, selector)?;
    let (target, level) = cpu.gate_target(gate.selector, 0)?;
    if kind == Kind::Jump && level != cpu.cpl {
        return cpu.gp_selector(gate.selector);
    }
    if kind == Kind::Call && level < cpu.cpl {
        return call_inner(cpu, &gate, &target, level);
    }
    cpu.check_code_offset(&target.segment(gate.selector), gate.offset, 0)?;
    cpu.mark_accessed(&target)?;
    if kind == Kind::Call {
        push_return(cpu, gate.size)?;
    }
    cpu.put_code(&target, gate.selector, level, gate.offset);
    Ok(())
}

fn check_gate(cpu: &mut Cpu, gate: &Descriptor, selector: u16) -> Result<(), Stop> {
    if gate.dpl() < cpu.cpl.max(rpl(selector)) {
        return cpu.gp_selector(selector);
    }
    if !gate.present() {
        return cpu.selector_fault(vector::NP, selector, 0);
    }
    Ok(())
}

/// A call to an inner privilege level, on that level's stack.
fn call_inner(cpu: &mut Cpu, gate: &Gate, target: &Descriptor, level: u8) -> Result<(), Stop> {
    let (ss, mut stack) = if cpu.long_mode() {
        let rsp = cpu.inner_rsp(level, 0)?;
        (null_stack(level), Stack::long(rsp, level, 0))
    } else {
        cpu.inner_stack(level, 0)?
    };
    cpu.check_code_offset(&target.segment(gate.selector), gate.offset, 0)?;
    let old = Stack::current(cpu, 0);
    stack.push(cpu, gate.size, u64::from(cpu.segment(Ss).selector))?;
    stack.push(cpu, gate.size, cpu.gpr[RSP])?;
    for n in (0..gate.parameters).rev() {
        let depth = u64::from(n) * u64::from(gate.size);
        let parameter = old.peek(cpu, gate.size, depth)?;
        stack.push(cpu, gate.size, parameter)?;
    }
    push_pointer(cpu, &mut stack, gate.size)?;
    cpu.mark_accessed(target)?;
    cpu.cpl = level;
    cpu.put_segment(Ss, ss);
    stack.commit(cpu);
    cpu.put_code(target, gate.selector, level, gate.offset);
    Ok(())
}

/// A task gate or a TSS.
fn to_task(cpu: &mut Cpu, target: &Descriptor, selector: u16, kind: Kind) -> Result<(), Stop> {
    check_gate(cpu, target, selector)?;
    let reason = match kind {
        Kind::Jump => Reason::Jump,
        Kind::Call => Reason::Call,
    };
    if target.kind() == system::TASK_GATE {
        return task::through_gate(cpu, (target.raw >> 16) as u16, reason);
    }
    task::switch(cpu, target, selector, reason)
}
