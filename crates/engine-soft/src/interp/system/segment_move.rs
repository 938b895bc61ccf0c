//! MOV and POP to and from segment registers, LDS and its like. Spec: Intel SDM Vol. 2, "MOV",
//! "POP", "LDS/LES/LFS/LGS/LSS".

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use x86::SegmentRegister;

use super::operand::{note_general, put};
use super::task_image::REGISTERS;
use crate::cpu::{Cpu, attention};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Op, STACK, Stop, register_offset, segment_index};

fn register(op: &Op) -> SegmentRegister {
    REGISTERS[op.extra as usize % 6]
}

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    match insn.mnemonic() {
        Mnemonic::Mov => lower_mov(insn, context),
        Mnemonic::Pop => lower_pop(insn, context),
        Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lss | Mnemonic::Lfs | Mnemonic::Lgs => {
            lower_pointer(insn, context)
        }
        _ => None,
    }
}

fn is_segment(insn: &Instruction, n: u32) -> bool {
    insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register()
}

fn lower_mov(insn: &Instruction, context: Context) -> Option<Lowered> {
    if is_segment(insn, 1) {
        let mut op = Op::new(insn, context.code, store_segment);
        note_general(&mut op, insn, 0);
        op.extra = u32::from(segment_index(insn.op1_register()));
        return Lowered::straight(op);
    }
    if !is_segment(insn, 0) || insn.op0_register() == Register::CS {
        return None;
    }
    let mut op = Op::new(insn, context.code, load_segment);
    note_general(&mut op, insn, 1);
    finish_load(op, insn.op0_register())
}

/// Segment loads change the bases that later instructions are lowered for only at run time, so they
/// need not end a block; SS does, for its interrupt shadow and the width of the stack.
fn finish_load(mut op: Op, register: Register) -> Option<Lowered> {
    op.extra = u32::from(segment_index(register));
    if register == Register::SS {
        Lowered::ending(op)
    } else {
        Lowered::straight(op)
    }
}

fn lower_pop(insn: &Instruction, context: Context) -> Option<Lowered> {
    if !is_segment(insn, 0) {
        return None;
    }
    let mut op = Op::new(insn, context.code, pop_segment);
    op.size = insn.stack_pointer_increment().unsigned_abs() as u8;
    op.flags |= STACK;
    finish_load(op, insn.op0_register())
}

fn lower_pointer(insn: &Instruction, context: Context) -> Option<Lowered> {
    let (register, size) = match insn.code() {
        Code::Lds_r16_m1616 => (Register::DS, 2),
        Code::Lds_r32_m1632 => (Register::DS, 4),
        Code::Les_r16_m1616 => (Register::ES, 2),
        Code::Les_r32_m1632 => (Register::ES, 4),
        Code::Lss_r16_m1616 => (Register::SS, 2),
        Code::Lss_r32_m1632 => (Register::SS, 4),
        Code::Lss_r64_m1664 => (Register::SS, 8),
        Code::Lfs_r16_m1616 => (Register::FS, 2),
        Code::Lfs_r32_m1632 => (Register::FS, 4),
        Code::Lfs_r64_m1664 => (Register::FS, 8),
        Code::Lgs_r16_m1616 => (Register::GS, 2),
        Code::Lgs_r32_m1632 => (Register::GS, 4),
        Code::Lgs_r64_m1664 => (Register::GS, 8),
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, load_pointer);
    op.dst = register_offset(insn.op0_register());
    op.size = size;
    finish_load(op, register)
}

fn store_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let selector = cpu.segment(register(op)).selector;
    cpu.put_word_operand(op, u64::from(selector))
}

fn load_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let selector = cpu.word_operand(op)?;
    cpu.load_segment(register(op), selector)?;
    hold_off_interrupts(cpu, op);
    Ok(())
}

/// After MOV and POP to SS the next instruction, which loads SP, runs before any interrupt.
fn hold_off_interrupts(cpu: &mut Cpu, op: &Op) {
    if register(op) == SegmentRegister::Ss {
        cpu.set_attention(attention::SHADOW, true);
        cpu.shadow_by_ss = true;
    }
}

fn pop_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let selector: u16 = cpu.stack_at(0)?;
    // The stack pointer moves by the old SS's width.
    let rsp = cpu.moved_rsp(i64::from(op.size));
    cpu.load_segment(register(op), selector)?;
    cpu.gpr[4] = rsp;
    hold_off_interrupts(cpu, op);
    Ok(())
}

fn load_pointer(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (selector, offset) = cpu.load_far_pointer(op)?;
    cpu.load_segment(register(op), selector)?;
    put(cpu, op.dst, op.size, offset);
    Ok(())
}
