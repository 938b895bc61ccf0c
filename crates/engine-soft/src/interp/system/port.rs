//! Port I/O: IN, OUT, INS, OUTS and the I/O permission bitmap. Spec: Intel SDM Vol. 1, "Input/Output";
//! Vol. 2, "IN", "OUT", "INS", "OUTS".

use engine::Exit;
use iced_x86::{Instruction, Mnemonic, OpKind};
use x86::SegmentRegister;
use x86::register::gpr::{RAX, RCX, RDI, RDX, RSI};
use x86::register::rflags;

use super::operand::put;
use crate::cpu::{CodeSize, Cpu, FLAT, attention};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{AddressForm, Handler, Op, REP, REPNE, Stop};

/// `Op::extra`: the port is in DX rather than in `Op::imm`.
const IN_DX: u32 = 1;
/// Offset of the I/O map base in a TSS.
const IO_MAP_BASE: u64 = 0x66;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let (run, size): (Handler, u8) = match insn.mnemonic() {
        Mnemonic::In => (port_in, insn.op0_register().size() as u8),
        Mnemonic::Out => (port_out, insn.op1_register().size() as u8),
        Mnemonic::Insb => (ins, 1),
        Mnemonic::Insw => (ins, 2),
        Mnemonic::Insd => (ins, 4),
        Mnemonic::Outsb => (outs, 1),
        Mnemonic::Outsw => (outs, 2),
        Mnemonic::Outsd => (outs, 4),
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    op.size = size;
    op.extra = IN_DX;
    for n in 0..insn.op_count() {
        if insn.op_kind(n) == OpKind::Immediate8 {
            op.imm = u64::from(insn.immediate8());
            op.extra = 0;
        }
    }
    if matches!(
        insn.mnemonic(),
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd
    ) {
        // Its destination is in ES, which no prefix overrides.
        op.seg = if context.code == CodeSize::Bits64 {
            FLAT
        } else {
            SegmentRegister::Es as u8
        };
    }
    Lowered::straight(op)
}

/// The port, after the check that the privilege allows it.
fn port(cpu: &mut Cpu, op: &Op) -> Result<u16, Stop> {
    let port = if op.extra == IN_DX {
        cpu.gpr[RDX] as u16
    } else {
        op.imm as u16
    };
    if !cpu.protected() || cpu.cpl <= cpu.iopl() && !cpu.virtual_8086() {
        return Ok(port);
    }
    if allowed_by_tss(cpu, port, op.size)? {
        Ok(port)
    } else {
        cpu.gp(0)
    }
}

/// Does the TSS's I/O permission bitmap allow all of `size` ports?
fn allowed_by_tss(cpu: &mut Cpu, port: u16, size: u8) -> Result<bool, Stop> {
    let limit = u64::from(cpu.tr.limit);
    if cpu.tr.unusable || cpu.has_tss16() || limit < IO_MAP_BASE + 1 {
        return Ok(false);
    }
    let base: u16 = cpu.read_system(cpu.table_address(cpu.tr.base, IO_MAP_BASE))?;
    // Two bytes are always read, so that a bitmap ends with a byte of ones.
    let at = u64::from(base) + u64::from(port / 8);
    if at + 1 > limit {
        return Ok(false);
    }
    let bits: u16 = cpu.read_system(cpu.table_address(cpu.tr.base, at))?;
    let mask = (1u16 << size) - 1;
    Ok(bits >> (port & 7) & mask == 0)
}

fn port_in(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let port = port(cpu, op)?;
    let size = op.size;
    let value = cpu.external(Exit::PortRead { port, size })?;
    put(cpu, (RAX * 8) as u8, size, value);
    cpu.note_port_breakpoints(port, size);
    Ok(())
}

fn port_out(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let port = port(cpu, op)?;
    let value = low(cpu.gpr[RAX], op.size);
    write_port(cpu, port, op.size, value)
}

fn write_port(cpu: &mut Cpu, port: u16, size: u8, value: u32) -> Result<(), Stop> {
    cpu.external(Exit::PortWrite { port, size, value })?;
    cpu.note_port_breakpoints(port, size);
    Ok(())
}

fn low(value: u64, size: u8) -> u32 {
    (value & (u64::MAX >> (64 - u32::from(size) * 8))) as u32
}

/// Bits of the address registers in use.
pub(crate) fn address_mask(op: &Op) -> u64 {
    match op.form {
        AddressForm::Long64 => u64::MAX,
        AddressForm::Long32 | AddressForm::Legacy32 => 0xffff_ffff,
        AddressForm::Legacy16 => 0xffff,
    }
}

/// Replaces the bits of an address register in use. 32-bit ones clear the upper half.
fn put_masked(cpu: &mut Cpu, register: usize, mask: u64, value: u64) {
    let kept = if mask == 0xffff {
        cpu.gpr[register] & !mask
    } else {
        0
    };
    cpu.gpr[register] = kept | value & mask;
}

fn element(cpu: &mut Cpu, op: &Op, register: usize, write: bool) -> Result<u64, Stop> {
    let offset = cpu.gpr[register] & address_mask(op);
    cpu.linear_in(op.seg, offset, u32::from(op.size), write)
}

fn is_repeated(op: &Op) -> bool {
    op.flags & (REP | REPNE) != 0
}

/// With a REP prefix and a count of zero nothing is done at all.
fn is_done(cpu: &Cpu, op: &Op) -> bool {
    is_repeated(op) && cpu.gpr[RCX] & address_mask(op) == 0
}

/// Commits elements: the index register moves, and a repeated instruction goes on.
fn advance(cpu: &mut Cpu, op: &Op, register: usize, elements: u64) -> Result<(), Stop> {
    let mask = address_mask(op);
    let by = i64::from(op.size) * elements.cast_signed();
    let by = if cpu.rflags & rflags::DF != 0 {
        -by
    } else {
        by
    };
    let index = cpu.gpr[register].wrapping_add_signed(by);
    put_masked(cpu, register, mask, index);
    if !is_repeated(op) {
        return Ok(());
    }
    let count = (cpu.gpr[RCX] & mask).wrapping_sub(elements);
    put_masked(cpu, RCX, mask, count);
    if count & mask == 0 {
        Ok(())
    } else {
        Err(Stop::Repeat)
    }
}

/// How many elements can be moved by one exit: as many as there are, in one page of plain RAM, forwards,
/// and with nobody who wants to see each. `at` is where the first one lies, and it may be accessed.
fn batch(cpu: &mut Cpu, op: &Op, register: usize, at: u64, write: bool) -> Result<u64, Stop> {
    let seen = cpu.attention & attention::TRAP != 0 || cpu.dr[5] & 0xff != 0;
    // An element that the machine has answered already is not asked for again.
    let begun = cpu.replay.is_active();
    if !cpu.takes_strings || !is_repeated(op) || cpu.rflags & rflags::DF != 0 || seen || begun {
        return Ok(1);
    }
    let (mask, size) = (address_mask(op), u64::from(op.size));
    let offset = cpu.gpr[register] & mask;
    let room = ((0x1000 - (at & 0xfff)) / size).min((mask - offset) / size);
    let count = (cpu.gpr[RCX] & mask).min(room);
    let bytes = count * size;
    // A segment may end before the page does.
    if count < 2 || cpu.linear_in(op.seg, offset, bytes as u32, write).is_err() {
        return Ok(1);
    }
    let plain = if write {
        cpu.prepare_write(at, bytes as u32)?;
        cpu.host_for_write(at, bytes).is_some()
    } else {
        cpu.prepare_read(at, bytes as u32)?;
        cpu.host_for_read(at, bytes).is_some()
    };
    Ok(if plain { count } else { 1 })
}

/// Has the machine an answer to a string already? Then its elements are in `Cpu::string`, and they are as
/// many as they were when it was asked.
fn answered(cpu: &mut Cpu) -> bool {
    !cpu.string.is_empty() && cpu.replay.next().is_some()
}

fn ask_string(cpu: &mut Cpu, exit: Exit) -> Result<(), Stop> {
    cpu.exit = Some(exit);
    Err(Stop::Exit)
}

/// Many elements at once; false where they are to be moved one by one.
fn ins_string(cpu: &mut Cpu, op: &Op, port: u16, at: u64) -> Result<bool, Stop> {
    if !answered(cpu) {
        let count = batch(cpu, op, RDI, at, true)?;
        cpu.string.clear();
        if count == 1 {
            return Ok(false);
        }
        cpu.string.resize((count * u64::from(op.size)) as usize, 0);
        let size = op.size;
        ask_string(cpu, Exit::PortReadString { port, size })?;
    }
    for (to, n) in (at..).zip(0..cpu.string.len()) {
        cpu.write(to, cpu.string[n])?;
    }
    let count = cpu.string.len() as u64 / u64::from(op.size);
    cpu.string.clear();
    advance(cpu, op, RDI, count).map(|()| true)
}

fn outs_string(cpu: &mut Cpu, op: &Op, port: u16, at: u64) -> Result<bool, Stop> {
    if !answered(cpu) {
        let count = batch(cpu, op, RSI, at, false)?;
        cpu.string.clear();
        if count == 1 {
            return Ok(false);
        }
        for from in at..at + count * u64::from(op.size) {
            let byte = cpu.read::<u8>(from)?;
            cpu.string.push(byte);
        }
        let size = op.size;
        ask_string(cpu, Exit::PortWriteString { port, size })?;
    }
    let count = cpu.string.len() as u64 / u64::from(op.size);
    cpu.string.clear();
    advance(cpu, op, RSI, count).map(|()| true)
}

fn ins(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if is_done(cpu, op) {
        return Ok(());
    }
    let port = port(cpu, op)?;
    let at = element(cpu, op, RDI, true)?;
    // A page fault after the device has given its byte would lose it.
    cpu.prepare_write(at, u32::from(op.size))?;
    if ins_string(cpu, op, port, at)? {
        return Ok(());
    }
    let size = op.size;
    let value = cpu.external(Exit::PortRead { port, size })?;
    match size {
        1 => cpu.write(at, value as u8)?,
        2 => cpu.write(at, value as u16)?,
        _ => cpu.write(at, value as u32)?,
    }
    cpu.note_port_breakpoints(port, size);
    advance(cpu, op, RDI, 1)
}

fn outs(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if is_done(cpu, op) {
        return Ok(());
    }
    let port = port(cpu, op)?;
    let at = element(cpu, op, RSI, false)?;
    if outs_string(cpu, op, port, at)? {
        return Ok(());
    }
    let value = match op.size {
        1 => u32::from(cpu.read::<u8>(at)?),
        2 => u32::from(cpu.read::<u16>(at)?),
        _ => cpu.read::<u32>(at)?,
    };
    write_port(cpu, port, op.size, value)?;
    advance(cpu, op, RSI, 1)
}

#[cfg(test)]
mod tests;
