//! Near jumps, calls and returns, LOOP, JCXZ.

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind};

use super::condition::{by_condition, holds, number};
use super::operand::{Place, place};
use crate::cpu::{CodeSize, Cpu, RIP_SLOT};
use crate::interp::op::{AddressForm, Handler, Op, STACK, Stop};
use crate::word::Word;

/// Linear-offset target of a direct branch, truncated to the operand size.
#[inline(always)]
fn target(cpu: &Cpu, op: &Op) -> u64 {
    let target = cpu.gpr[usize::from(RIP_SLOT)].wrapping_add(op.imm);
    match op.size {
        2 => target & 0xffff,
        4 => target & 0xffff_ffff,
        _ => target,
    }
}

fn jump(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let target = target(cpu, op);
    cpu.jump(target)
}

fn jump_if<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if holds::<CC>(cpu.status) {
        jump(cpu, op)
    } else {
        Ok(())
    }
}

fn call<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let target = target(cpu, op);
    call_to::<T>(cpu, target)
}

#[inline(always)]
fn call_to<T: Word>(cpu: &mut Cpu, target: u64) -> Result<(), Stop> {
    let (back, rsp) = (cpu.rip, cpu.gpr[4]);
    cpu.push(T::from_u64(back))?;
    let jumped = cpu.jump(target);
    if jumped.is_err() {
        cpu.gpr[4] = rsp;
    }
    jumped
}

#[inline(always)]
fn operand<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    Ok(if op.extra == 0 {
        T::get(&cpu.gpr, op.src)
    } else {
        cpu.load::<T>(op)?
    }
    .to_u64())
}

fn jump_indirect<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let target = operand::<T>(cpu, op)?;
    cpu.jump(target)
}

fn call_indirect<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let target = operand::<T>(cpu, op)?;
    call_to::<T>(cpu, target)
}

/// RET, RET imm16: `imm` is how much more to release.
fn ret<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let target: T = cpu.stack_at(0)?;
    cpu.jump(target.to_u64())?;
    cpu.gpr[4] = cpu.moved_rsp(i64::from(T::BYTES) + op.imm as i64);
    Ok(())
}

/// The counter register of LOOP and JCXZ, of the address size.
fn counter_mask(op: &Op) -> u64 {
    match op.form {
        AddressForm::Long64 => u64::MAX,
        AddressForm::Legacy16 => 0xffff,
        _ => 0xffff_ffff,
    }
}

fn jump_if_zero_counter(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if cpu.gpr[1] & counter_mask(op) == 0 {
        jump(cpu, op)
    } else {
        Ok(())
    }
}

/// LOOP (`extra` 0), LOOPE (1), LOOPNE (2).
fn loop_back(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let mask = counter_mask(op);
    let count = cpu.gpr[1].wrapping_sub(1) & mask;
    let zero = holds::<4>(cpu.status);
    let wanted = match op.extra {
        0 => true,
        1 => zero,
        _ => !zero,
    };
    if count != 0 && wanted {
        jump(cpu, op)?;
    }
    let kept = if mask == 0xffff {
        cpu.gpr[1] & !mask
    } else {
        0
    };
    cpu.gpr[1] = kept | count;
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

fn set_operand(insn: &Instruction, op: &mut Op) -> Option<u8> {
    match place(insn, 0)? {
        Place::Register { offset, size } => {
            op.src = offset;
            Some(size)
        }
        Place::Memory { size } => {
            op.extra = 1;
            Some(size)
        }
        Place::Immediate(_) => None,
    }
}

/// The handler of a near branch, its operands noted in `op`.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, op: &mut Op) -> Option<Handler> {
    if matches!(
        insn.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    ) {
        op.imm = insn.near_branch_target();
        op.size = match insn.op0_kind() {
            OpKind::NearBranch16 => 2,
            OpKind::NearBranch32 => 4,
            _ => 8,
        };
    }
    Some(match insn.mnemonic() {
        Mnemonic::Call if insn.flow_control() == FlowControl::Call && op.size != 0 => {
            op.flags |= STACK;
            by_size!(op.size, call)
        }
        Mnemonic::Jmp if op.size != 0 => jump,
        Mnemonic::Jmp
            if matches!(
                insn.code(),
                Code::Jmp_rm16 | Code::Jmp_rm32 | Code::Jmp_rm64
            ) =>
        {
            by_size!(set_operand(insn, op)?, jump_indirect)
        }
        Mnemonic::Call
            if matches!(
                insn.code(),
                Code::Call_rm16 | Code::Call_rm32 | Code::Call_rm64
            ) =>
        {
            by_size!(set_operand(insn, op)?, call_indirect)
        }
        Mnemonic::Ret => {
            op.flags |= STACK;
            if insn.op_count() == 1 {
                op.imm = insn.immediate(0) & 0xffff;
            }
            match insn.code() {
                Code::Retnw | Code::Retnw_imm16 => ret::<u16>,
                Code::Retnd | Code::Retnd_imm16 => ret::<u32>,
                _ => ret::<u64>,
            }
        }
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => {
            op.form = counter_form(insn)?;
            op.extra = match insn.mnemonic() {
                Mnemonic::Loop => 0,
                Mnemonic::Loope => 1,
                _ => 2,
            };
            loop_back
        }
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => {
            op.form = counter_form(insn)?;
            jump_if_zero_counter
        }
        _ if insn.is_jcc_short_or_near() => by_condition!(number(insn)?, jump_if),
        _ => return None,
    })
}

/// LOOP and JCXZ count in the address size, which no operand shows.
fn counter_form(insn: &Instruction) -> Option<AddressForm> {
    use Code::*;
    Some(match insn.code() {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX
        | Loopne_rel8_16_CX | Loopne_rel8_32_CX | Jcxz_rel8_16 | Jcxz_rel8_32 => {
            AddressForm::Legacy16
        }
        Loop_rel8_16_ECX | Loop_rel8_32_ECX | Loop_rel8_64_ECX | Loope_rel8_16_ECX
        | Loope_rel8_32_ECX | Loope_rel8_64_ECX | Loopne_rel8_16_ECX | Loopne_rel8_32_ECX
        | Loopne_rel8_64_ECX | Jecxz_rel8_16 | Jecxz_rel8_32 | Jecxz_rel8_64 => {
            AddressForm::Legacy32
        }
        Loop_rel8_16_RCX | Loop_rel8_64_RCX | Loope_rel8_16_RCX | Loope_rel8_64_RCX
        | Loopne_rel8_16_RCX | Loopne_rel8_64_RCX | Jrcxz_rel8_16 | Jrcxz_rel8_64 => {
            AddressForm::Long64
        }
        _ => return None,
    })
}
