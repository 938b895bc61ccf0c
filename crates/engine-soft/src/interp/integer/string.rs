//! MOVS, STOS, LODS, SCAS, CMPS with and without REP.
//!
//! A repeated instruction commits its registers after each element, so that a fault or an interrupt
//! finds it restartable. Elements inside one page on both sides, forwards, go in one host copy.

use iced_x86::{Instruction, Mnemonic};
use x86::register::rflags;

use super::alu_raw::{Binary, Cmp};
use super::condition::holds;
use super::string_raw;
use crate::cpu::{CodeSize, Cpu, attention};
use crate::interp::op::{AddressForm, Handler, Op, REP, REPNE, Stop};
use crate::word::Word;

const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;
const ES: u8 = 0;

/// Elements done by the slow path before looking for interrupts.
const ELEMENTS_A_TURN: u32 = 256;

/// Bits of the index and counter registers in use.
#[inline(always)]
fn mask(op: &Op) -> u64 {
    match op.form {
        AddressForm::Long64 => u64::MAX,
        AddressForm::Legacy16 => 0xffff,
        _ => 0xffff_ffff,
    }
}

/// Writes a register at the address size.
#[inline(always)]
fn put(cpu: &mut Cpu, register: usize, value: u64, mask: u64) {
    let kept = if mask == 0xffff {
        cpu.gpr[register] & !mask
    } else {
        0
    };
    cpu.gpr[register] = kept | value & mask;
}

#[inline(always)]
fn advance(cpu: &mut Cpu, register: usize, by: i64, mask: u64) {
    let value = cpu.gpr[register].wrapping_add_signed(by);
    put(cpu, register, value, mask);
}

#[inline(always)]
fn source<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    let offset = cpu.gpr[RSI] & mask(op);
    if matches!(op.form, AddressForm::Long64 | AddressForm::Long32) {
        return Ok(cpu.segment_bases[usize::from(op.seg) % 7].wrapping_add(offset));
    }
    cpu.linear_in(op.seg, offset, u32::from(T::BYTES), false)
}

#[inline(always)]
fn destination<T: Word>(cpu: &mut Cpu, op: &Op, write: bool) -> Result<u64, Stop> {
    let offset = cpu.gpr[RDI] & mask(op);
    if matches!(op.form, AddressForm::Long64 | AddressForm::Long32) {
        return Ok(offset);
    }
    cpu.linear_in(ES, offset, u32::from(T::BYTES), write)
}

#[inline(always)]
fn step<T: Word>(cpu: &Cpu) -> i64 {
    let size = i64::from(T::BYTES);
    if cpu.rflags & rflags::DF != 0 {
        -size
    } else {
        size
    }
}

/// Runs `element` once, or as REP, REPE and REPNE say. `element` moves its index registers itself.
#[inline(always)]
fn repeat(
    cpu: &mut Cpu,
    op: &Op,
    conditional: bool,
    element: impl Fn(&mut Cpu) -> Result<(), Stop>,
) -> Result<(), Stop> {
    if op.flags & (REP | REPNE) == 0 {
        return element(cpu);
    }
    let mask = mask(op);
    // Where whole pages can be done at once, one element is enough to get there.
    let turn = if in_bulk(cpu, op) && !conditional {
        1
    } else {
        ELEMENTS_A_TURN
    };
    let before = cpu.status;
    for _ in 0..turn {
        if cpu.gpr[RCX] & mask == 0 {
            return Ok(());
        }
        if let Err(stop) = element(cpu) {
            // A fault in the middle shows the flags of before the instruction.
            cpu.status = before;
            return Err(stop);
        }
        let left = cpu.gpr[RCX].wrapping_sub(1) & mask;
        put(cpu, RCX, left, mask);
        let zero = holds::<4>(cpu.status);
        let done = conditional && zero == (op.flags & REPNE != 0);
        if left == 0 || done {
            return Ok(());
        }
        // Answers of the machine belong to one element; a single-stepped guest sees each.
        if cpu.replay.is_active() || cpu.attention & attention::TRAP != 0 || cpu.limit == 0 {
            return Err(Stop::Repeat);
        }
    }
    Err(Stop::Repeat)
}

/// May whole pages of elements be done at once?
#[inline(always)]
fn in_bulk(cpu: &Cpu, op: &Op) -> bool {
    op.flags & (REP | REPNE) != 0
        && op.form == AddressForm::Long64
        && cpu.rflags & rflags::DF == 0
        && cpu.attention & attention::TRAP == 0
        && !cpu.replay.is_active()
}

/// How many whole elements of `T` from `gla` lie inside its page.
#[inline(always)]
fn elements_in_page<T: Word>(gla: u64) -> u64 {
    (0x1000 - (gla & 0xfff)) / u64::from(T::BYTES)
}

fn movs<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if in_bulk(cpu, op) {
        let (from, to) = (source::<T>(cpu, op)?, cpu.gpr[RDI]);
        let most = elements_in_page::<T>(from).min(elements_in_page::<T>(to));
        let count = cpu.gpr[RCX].min(most);
        if count != 0 && string_raw::copy::<T>(cpu, to, from, count)? {
            return commit::<T>(cpu, count, true);
        }
    }
    repeat(cpu, op, false, |cpu| {
        let (from, to) = (source::<T>(cpu, op)?, destination::<T>(cpu, op, true)?);
        let value: T = cpu.read(from)?;
        cpu.write(to, value)?;
        let by = step::<T>(cpu);
        advance(cpu, RSI, by, mask(op));
        advance(cpu, RDI, by, mask(op));
        Ok(())
    })
}

fn stos<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = T::get(&cpu.gpr, 0);
    if in_bulk(cpu, op) {
        let to = cpu.gpr[RDI];
        let count = cpu.gpr[RCX].min(elements_in_page::<T>(to));
        if count != 0 && string_raw::fill(cpu, to, value, count)? {
            return commit::<T>(cpu, count, false);
        }
    }
    repeat(cpu, op, false, |cpu| {
        let to = destination::<T>(cpu, op, true)?;
        cpu.write(to, value)?;
        let by = step::<T>(cpu);
        advance(cpu, RDI, by, mask(op));
        Ok(())
    })
}

/// Moves the registers over `count` elements done at once (64-bit addresses, forwards).
fn commit<T: Word>(cpu: &mut Cpu, count: u64, source: bool) -> Result<(), Stop> {
    let bytes = count * u64::from(T::BYTES);
    cpu.gpr[RDI] = cpu.gpr[RDI].wrapping_add(bytes);
    if source {
        cpu.gpr[RSI] = cpu.gpr[RSI].wrapping_add(bytes);
    }
    cpu.gpr[RCX] -= count;
    if cpu.gpr[RCX] == 0 {
        Ok(())
    } else {
        Err(Stop::Repeat)
    }
}

fn lods<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    repeat(cpu, op, false, |cpu| {
        let from = source::<T>(cpu, op)?;
        let value: T = cpu.read(from)?;
        T::set(&mut cpu.gpr, 0, value);
        let by = step::<T>(cpu);
        advance(cpu, RSI, by, mask(op));
        Ok(())
    })
}

fn scas<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Cmp: Binary<T>,
{
    repeat(cpu, op, true, |cpu| {
        let to = destination::<T>(cpu, op, false)?;
        let found: T = cpu.read(to)?;
        (_, cpu.status) = Cmp::apply(T::get(&cpu.gpr, 0), found, cpu.status);
        let by = step::<T>(cpu);
        advance(cpu, RDI, by, mask(op));
        Ok(())
    })
}

fn cmps<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Cmp: Binary<T>,
{
    repeat(cpu, op, true, |cpu| {
        let (from, to) = (source::<T>(cpu, op)?, destination::<T>(cpu, op, false)?);
        let (a, b): (T, T) = (cpu.read(from)?, cpu.read(to)?);
        (_, cpu.status) = Cmp::apply(a, b, cpu.status);
        let by = step::<T>(cpu);
        advance(cpu, RSI, by, mask(op));
        advance(cpu, RDI, by, mask(op));
        Ok(())
    })
}

/// The handler of a string instruction. MOVSD and CMPSD of SSE have other operand kinds.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, _op: &mut Op) -> Option<Handler> {
    if !insn.is_string_instruction() {
        return None;
    }
    Some(match insn.mnemonic() {
        Mnemonic::Movsb => movs::<u8>,
        Mnemonic::Movsw => movs::<u16>,
        Mnemonic::Movsd => movs::<u32>,
        Mnemonic::Movsq => movs::<u64>,
        Mnemonic::Stosb => stos::<u8>,
        Mnemonic::Stosw => stos::<u16>,
        Mnemonic::Stosd => stos::<u32>,
        Mnemonic::Stosq => stos::<u64>,
        Mnemonic::Lodsb => lods::<u8>,
        Mnemonic::Lodsw => lods::<u16>,
        Mnemonic::Lodsd => lods::<u32>,
        Mnemonic::Lodsq => lods::<u64>,
        Mnemonic::Scasb => scas::<u8>,
        Mnemonic::Scasw => scas::<u16>,
        Mnemonic::Scasd => scas::<u32>,
        Mnemonic::Scasq => scas::<u64>,
        Mnemonic::Cmpsb => cmps::<u8>,
        Mnemonic::Cmpsw => cmps::<u16>,
        Mnemonic::Cmpsd => cmps::<u32>,
        Mnemonic::Cmpsq => cmps::<u64>,
        _ => return None,
    })
}
