//! PUSH, POP, PUSHA, POPA, ENTER, LEAVE. POP to a segment register is a system instruction.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::operand::{Place, place};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Handler, Op, STACK, Stop, segment_index};
use crate::word::Word;

fn push_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = T::get(&cpu.gpr, op.src);
    cpu.push(value)
}

fn push_imm<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.push(T::from_u64(op.imm))
}

fn push_mem<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = cpu.load::<T>(op)?;
    cpu.push(value)
}

/// PUSH of a segment register: 32-bit forms write only the low half of the slot.
fn push_segment<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let selector = cpu.segments[usize::from(op.src) % 6].selector;
    if T::BYTES == 4 {
        let rsp = cpu.moved_rsp(-4);
        let gla = cpu.stack_linear(rsp, 2, true)?;
        cpu.write(gla, selector)?;
        cpu.gpr[4] = rsp;
        return Ok(());
    }
    cpu.push(T::from_u64(u64::from(selector)))
}

fn pop_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value: T = cpu.pop()?;
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

/// An address based on RSP uses its value after the pop.
fn pop_mem<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let before = cpu.gpr[4];
    let value: T = cpu.pop()?;
    let stored = cpu.store(op, value);
    if stored.is_err() {
        cpu.gpr[4] = before;
    }
    stored
}

fn pusha<T: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let rsp = cpu.gpr[4];
    for n in 0..8u8 {
        let value = if n == 4 {
            T::from_u64(rsp)
        } else {
            T::get(&cpu.gpr, n * 8)
        };
        if let Err(stop) = cpu.push(value) {
            cpu.gpr[4] = rsp;
            return Err(stop);
        }
    }
    Ok(())
}

fn popa<T: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let mut values = [T::from_u64(0); 8];
    for (n, value) in values.iter_mut().enumerate() {
        *value = cpu.stack_at(n as i64 * i64::from(T::BYTES))?;
    }
    cpu.gpr[4] = cpu.moved_rsp(8 * i64::from(T::BYTES));
    for (n, value) in (0..8u8).rev().zip(values) {
        // The saved stack pointer is skipped.
        if n != 4 {
            T::set(&mut cpu.gpr, n * 8, value);
        }
    }
    Ok(())
}

fn leave<T: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let frame = cpu.gpr[5];
    let gla = cpu.stack_linear(frame, u32::from(T::BYTES), false)?;
    let value: T = cpu.read(gla)?;
    let (rsp, mask) = (cpu.gpr[4], cpu.stack_mask);
    let kept = if mask == 0xffff { rsp & !mask } else { 0 };
    let above = frame.wrapping_add(u64::from(T::BYTES)) & mask;
    cpu.gpr[4] = kept | above;
    T::set(&mut cpu.gpr, 5 * 8, value);
    Ok(())
}

/// ENTER: `imm` is the frame size, `extra` the nesting level.
fn enter<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let rsp = cpu.gpr[4];
    let entered = enter_frame::<T>(cpu, op);
    if entered.is_err() {
        cpu.gpr[4] = rsp;
    }
    entered
}

fn enter_frame<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let level = op.extra & 31;
    let mut link = cpu.gpr[5];
    let saved = T::get(&cpu.gpr, 5 * 8);
    cpu.push(saved)?;
    let frame = cpu.gpr[4];
    if level > 0 {
        for _ in 1..level {
            link = link.wrapping_sub(u64::from(T::BYTES));
            let gla = cpu.stack_linear(link, u32::from(T::BYTES), false)?;
            let display: T = cpu.read(gla)?;
            cpu.push(display)?;
        }
        cpu.push(T::from_u64(frame))?;
    }
    let rsp = cpu.moved_rsp(-(op.imm as i64));
    // The last byte of the new frame must be writable, though nothing is written there.
    let gla = cpu.stack_linear(rsp, u32::from(T::BYTES), true)?;
    cpu.prepare_write(gla, u32::from(T::BYTES))?;
    cpu.gpr[4] = rsp;
    T::set(&mut cpu.gpr, 5 * 8, T::from_u64(frame));
    Ok(())
}

macro_rules! by_size {
    ($size:expr, $f:ident) => {
        match $size {
            2 => $f::<u16>,
            4 => $f::<u32>,
            _ => $f::<u64>,
        }
    };
}

fn push_handler(insn: &Instruction, op: &mut Op) -> Option<Handler> {
    let size = insn.stack_pointer_increment().unsigned_abs();
    if insn.op0_kind() == OpKind::Register && insn.op0_register().is_segment_register() {
        op.src = segment_index(insn.op0_register());
        return Some(by_size!(size, push_segment));
    }
    Some(match place(insn, 0)? {
        Place::Register { offset, .. } => {
            op.src = offset;
            by_size!(size, push_reg)
        }
        Place::Immediate(value) => {
            op.imm = value;
            by_size!(size, push_imm)
        }
        Place::Memory { .. } => by_size!(size, push_mem),
    })
}

/// The handler of a stack instruction, its operands noted in `op`.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, op: &mut Op) -> Option<Handler> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Push => push_handler(insn, op)?,
        Mnemonic::Pop => match place(insn, 0)? {
            Place::Register { offset, size } => {
                op.dst = offset;
                by_size!(size, pop_reg)
            }
            _ => {
                let size = insn.stack_pointer_increment().unsigned_abs();
                by_size!(size, pop_mem)
            }
        },
        Mnemonic::Pusha => pusha::<u16>,
        Mnemonic::Pushad => pusha::<u32>,
        Mnemonic::Popa => popa::<u16>,
        Mnemonic::Popad => popa::<u32>,
        Mnemonic::Leave => match insn.code() {
            Code::Leavew => leave::<u16>,
            Code::Leaved => leave::<u32>,
            _ => leave::<u64>,
        },
        Mnemonic::Enter => {
            op.imm = u64::from(insn.immediate16());
            op.extra = u32::from(insn.immediate8_2nd());
            match insn.code() {
                Code::Enterw_imm16_imm8 => enter::<u16>,
                Code::Enterd_imm16_imm8 => enter::<u32>,
                _ => enter::<u64>,
            }
        }
        _ => return None,
    };
    op.flags |= STACK;
    Some(run)
}
