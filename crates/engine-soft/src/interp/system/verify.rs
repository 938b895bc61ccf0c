//! Asking about descriptors without using them: LAR, LSL, VERR, VERW, ARPL. Spec: Intel SDM Vol. 2.

use iced_x86::{Instruction, Mnemonic};

use super::descriptor::{Descriptor, is_null, rpl, system};
use super::operand::{note_general, put};
use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop, register_offset};
use crate::word::Word;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Lar => lar,
        Mnemonic::Lsl => lsl,
        Mnemonic::Verr => verr,
        Mnemonic::Verw => verw,
        Mnemonic::Arpl => arpl,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    match insn.mnemonic() {
        Mnemonic::Lar | Mnemonic::Lsl => {
            note_general(&mut op, insn, 1);
            op.src = register_offset(insn.op0_register());
            op.size = insn.op0_register().size() as u8;
        }
        Mnemonic::Arpl => {
            note_general(&mut op, insn, 0);
            op.src = register_offset(insn.op1_register());
            // ARPL writes 16 bits whatever iced calls the register.
            op.size = 2;
        }
        _ => note_general(&mut op, insn, 0),
    }
    Lowered::straight(op)
}

/// The descriptor that `selector` names, if the current privilege may see it.
fn visible(cpu: &mut Cpu, selector: u16) -> Result<Option<Descriptor>, Stop> {
    if is_null(selector) {
        return Ok(None);
    }
    let least = cpu.cpl.max(rpl(selector));
    let found = cpu.find_descriptor(selector)?;
    Ok(found.filter(|d| d.is_conforming() || least <= d.dpl()))
}

fn lar(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    const LEGACY_ONLY: [u8; 4] = [
        system::TSS16,
        system::TSS16_BUSY,
        system::CALL16,
        system::TASK_GATE,
    ];
    const ALWAYS: [u8; 4] = [system::LDT, system::TSS, system::TSS_BUSY, system::CALL];
    look_up(cpu, op, &LEGACY_ONLY, &ALWAYS, |d| {
        d.raw >> 32 & 0x00f0_ff00
    })
}

fn lsl(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    const LEGACY_ONLY: [u8; 2] = [system::TSS16, system::TSS16_BUSY];
    const ALWAYS: [u8; 3] = [system::LDT, system::TSS, system::TSS_BUSY];
    look_up(cpu, op, &LEGACY_ONLY, &ALWAYS, |d| {
        u64::from(d.segment(0).limit)
    })
}

fn look_up(
    cpu: &mut Cpu,
    op: &Op,
    legacy_only: &[u8],
    always: &[u8],
    answer: fn(&Descriptor) -> u64,
) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    let selector = cpu.word_operand(op)?;
    let long = cpu.long_mode();
    let known = |d: &Descriptor| {
        !d.is_system() || always.contains(&d.kind()) || !long && legacy_only.contains(&d.kind())
    };
    let found = visible(cpu, selector)?.filter(known);
    if let Some(descriptor) = found {
        put(cpu, op.src, op.size, answer(&descriptor));
    }
    cpu.set_zero(found.is_some());
    Ok(())
}

fn verr(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    verify(cpu, op, Descriptor::is_readable)
}

fn verw(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    verify(cpu, op, Descriptor::is_writable_data)
}

fn verify(cpu: &mut Cpu, op: &Op, allowed: fn(&Descriptor) -> bool) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    let selector = cpu.word_operand(op)?;
    let found = visible(cpu, selector)?;
    cpu.set_zero(found.is_some_and(|d| allowed(&d)));
    Ok(())
}

fn arpl(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    let selector = cpu.word_operand(op)?;
    let wanted = u16::get(&cpu.gpr, op.src) & 3;
    let raised = selector & 3 < wanted;
    if raised {
        cpu.put_word_operand(op, u64::from(selector & !3 | wanted))?;
    }
    cpu.set_zero(raised);
    Ok(())
}
