//! Descriptor-table registers, LDTR and TR. Spec: Intel SDM Vol. 2, "LGDT/LIDT", "SGDT", "SIDT",
//! "LLDT", "SLDT", "LTR", "STR"; Vol. 3, "User-Mode Instruction Prevention".

use iced_x86::{Instruction, Mnemonic};
use x86::exception::vector;
use x86::register::cr4;
use x86::{DescriptorTable, Segment};

use super::descriptor::{Descriptor, is_null, system};
use super::operand::note_general;
use super::segment::null;
use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    use iced_x86::Code;
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Lgdt => lgdt,
        Mnemonic::Lidt => lidt,
        Mnemonic::Sgdt => sgdt,
        Mnemonic::Sidt => sidt,
        Mnemonic::Lldt => lldt,
        Mnemonic::Sldt => sldt,
        Mnemonic::Ltr => ltr,
        Mnemonic::Str => str,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    match insn.mnemonic() {
        Mnemonic::Lldt | Mnemonic::Sldt | Mnemonic::Ltr | Mnemonic::Str => {
            note_general(&mut op, insn, 0);
        }
        _ => {
            // Bytes of the base: with 16-bit operands 24 bits of four bytes are loaded.
            op.size = match insn.code() {
                Code::Lgdt_m1632_16 | Code::Lidt_m1632_16 => 3,
                Code::Lgdt_m1664 | Code::Lidt_m1664 => 8,
                Code::Sgdt_m1664 | Code::Sidt_m1664 => 8,
                _ => 4,
            };
        }
    }
    Lowered::straight(op)
}

fn read_table(cpu: &mut Cpu, op: &Op) -> Result<DescriptorTable, Stop> {
    cpu.only_level_0()?;
    let width = if op.size == 8 { 8 } else { 4 };
    let at = cpu.linear(op, 2 + width, false)?;
    let limit = cpu.read::<u16>(at)?;
    let base = match op.size {
        8 => cpu.read::<u64>(at.wrapping_add(2))?,
        4 => u64::from(cpu.read::<u32>(at.wrapping_add(2))?),
        _ => u64::from(cpu.read::<u32>(at.wrapping_add(2))? & 0xff_ffff),
    };
    if !Cpu::canonical(base) {
        return cpu.gp(0);
    }
    Ok(DescriptorTable { base, limit })
}

fn lgdt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.gdtr = read_table(cpu, op)?;
    Ok(())
}

fn lidt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.idtr = read_table(cpu, op)?;
    Ok(())
}

/// User-mode instruction prevention: #GP(0) outside level 0.
pub(crate) fn prevent_in_user_mode(cpu: &mut Cpu) -> Result<(), Stop> {
    if cpu.cr4 & cr4::UMIP != 0 && cpu.cpl != 0 {
        return cpu.gp(0);
    }
    Ok(())
}

fn store_table(cpu: &mut Cpu, op: &Op, table: DescriptorTable) -> Result<(), Stop> {
    prevent_in_user_mode(cpu)?;
    let width = u32::from(op.size);
    let at = cpu.linear(op, 2 + width, true)?;
    cpu.prepare_write(at, 2 + width)?;
    cpu.write(at, table.limit)?;
    if op.size == 8 {
        cpu.write(at.wrapping_add(2), table.base)
    } else {
        cpu.write(at.wrapping_add(2), table.base as u32)
    }
}

fn sgdt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    store_table(cpu, op, cpu.gdtr)
}

fn sidt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    store_table(cpu, op, cpu.idtr)
}

fn sldt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    prevent_in_user_mode(cpu)?;
    cpu.put_word_operand(op, u64::from(cpu.ldtr.selector))
}

fn str(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    prevent_in_user_mode(cpu)?;
    cpu.put_word_operand(op, u64::from(cpu.tr.selector))
}

fn lldt(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    cpu.only_level_0()?;
    let selector = cpu.word_operand(op)?;
    if is_null(selector) {
        cpu.ldtr = null(selector);
        return Ok(());
    }
    let (_, segment) = system_segment(cpu, selector, &[system::LDT])?;
    cpu.ldtr = segment;
    Ok(())
}

fn ltr(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_with_descriptors()?;
    cpu.only_level_0()?;
    let selector = cpu.word_operand(op)?;
    if is_null(selector) {
        return cpu.gp(0);
    }
    let kinds: &[u8] = if cpu.long_mode() {
        &[system::TSS]
    } else {
        &[system::TSS, system::TSS16]
    };
    let (descriptor, mut segment) = system_segment(cpu, selector, kinds)?;
    cpu.mark_busy(&descriptor, true)?;
    segment.rights |= u16::from(system::BUSY);
    cpu.tr = segment;
    Ok(())
}

/// The system segment that `selector` names in the GDT, of one of these types.
fn system_segment(
    cpu: &mut Cpu,
    selector: u16,
    kinds: &[u8],
) -> Result<(Descriptor, Segment), Stop> {
    if selector & 4 != 0 {
        return cpu.gp_selector(selector);
    }
    let descriptor = cpu.descriptor(selector, vector::GP, 0)?;
    if !descriptor.is_system() || !kinds.contains(&descriptor.kind()) {
        return cpu.gp_selector(selector);
    }
    if !descriptor.present() {
        return cpu.selector_fault(vector::NP, selector, 0);
    }
    let mut segment = descriptor.segment(selector);
    if cpu.long_mode() {
        let Some(high) = cpu.descriptor_high(selector)? else {
            return cpu.gp_selector(selector);
        };
        segment.base |= high << 32;
        if !Cpu::canonical(segment.base) || high >> 40 & 0x1f != 0 {
            return cpu.gp_selector(selector);
        }
    }
    Ok((descriptor, segment))
}
