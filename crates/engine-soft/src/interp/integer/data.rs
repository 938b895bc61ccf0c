//! MOV and its kin: MOVZX, MOVSX, LEA, XCHG, XADD, CMPXCHG, CMOVcc, SETcc, BSWAP, sign extensions.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::alu_raw::{Add, Binary, Cmp, compare_exchange_16};
use super::condition::{by_condition, holds, number};
use super::operand::{Place, place};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Handler, Op, Stop};
use crate::word::Word;

fn mov_reg_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = T::get(&cpu.gpr, op.src);
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

fn mov_reg_imm<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    T::set(&mut cpu.gpr, op.dst, T::from_u64(op.imm));
    Ok(())
}

fn mov_reg_mem<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = cpu.load::<T>(op)?;
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

fn mov_mem_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = T::get(&cpu.gpr, op.src);
    cpu.store(op, value)
}

fn mov_mem_imm<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.store(op, T::from_u64(op.imm))
}

/// A source of one width into a register of another, zero- or sign-extended.
fn extend_reg<S: Word, D: Word, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = S::get(&cpu.gpr, op.src);
    D::set(&mut cpu.gpr, op.dst, extended::<S, D, SIGNED>(value));
    Ok(())
}

fn extend_mem<S: Word, D: Word, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = cpu.load::<S>(op)?;
    D::set(&mut cpu.gpr, op.dst, extended::<S, D, SIGNED>(value));
    Ok(())
}

#[inline(always)]
fn extended<S: Word, D: Word, const SIGNED: bool>(value: S) -> D {
    D::from_u64(if SIGNED {
        value.to_i64() as u64
    } else {
        value.to_u64()
    })
}

fn lea<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let offset = cpu.offset(op);
    T::set(&mut cpu.gpr, op.dst, T::from_u64(offset));
    Ok(())
}

fn xchg_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    T::set(&mut cpu.gpr, op.dst, b);
    T::set(&mut cpu.gpr, op.src, a);
    Ok(())
}

/// XCHG with memory is locked without a prefix.
fn xchg_mem<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = T::get(&cpu.gpr, op.src);
    let gla = cpu.linear(op, u32::from(T::BYTES), true)?;
    let old = cpu.update_at(gla, true, |_, status| (value, status))?;
    T::set(&mut cpu.gpr, op.src, old);
    Ok(())
}

fn xadd_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Add: Binary<T>,
{
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    let (sum, status) = Add::apply(a, b, cpu.status);
    T::set(&mut cpu.gpr, op.src, a);
    T::set(&mut cpu.gpr, op.dst, sum);
    cpu.status = status;
    Ok(())
}

fn xadd_mem<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Add: Binary<T>,
{
    let b = T::get(&cpu.gpr, op.src);
    let old = cpu.update(op, |a, status| Add::apply(a, b, status))?;
    T::set(&mut cpu.gpr, op.src, old);
    Ok(())
}

fn cmpxchg_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Cmp: Binary<T>,
{
    let (accumulator, found) = (T::get(&cpu.gpr, 0), T::get(&cpu.gpr, op.dst));
    (_, cpu.status) = Cmp::apply(accumulator, found, cpu.status);
    if accumulator == found {
        let new = T::get(&cpu.gpr, op.src);
        T::set(&mut cpu.gpr, op.dst, new);
    } else {
        T::set(&mut cpu.gpr, 0, found);
    }
    Ok(())
}

/// The destination is written in either case, with its own value when the comparison fails.
fn cmpxchg_mem<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Cmp: Binary<T>,
{
    let (accumulator, new) = (T::get(&cpu.gpr, 0), T::get(&cpu.gpr, op.src));
    let found = cpu.update(op, |found, status| {
        let stored = if found == accumulator { new } else { found };
        (stored, Cmp::apply(accumulator, found, status).1)
    })?;
    if found != accumulator {
        T::set(&mut cpu.gpr, 0, found);
    }
    Ok(())
}

fn cmpxchg8b(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let join = |high: u64, low: u64| high << 32 | low & 0xffff_ffff;
    let (expected, new) = (join(cpu.gpr[2], cpu.gpr[0]), join(cpu.gpr[1], cpu.gpr[3]));
    let change = |found, status| (if found == expected { new } else { found }, status);
    let found: u64 = cpu.update(op, change)?;
    cpu.set_zero(found == expected);
    if found != expected {
        cpu.gpr[0] = found & 0xffff_ffff;
        cpu.gpr[2] = found >> 32;
    }
    Ok(())
}

fn cmpxchg16b(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let gla = cpu.linear(op, 16, true)?;
    if gla & 15 != 0 {
        return cpu.gp(0);
    }
    let (expected, new) = ((cpu.gpr[0], cpu.gpr[2]), (cpu.gpr[3], cpu.gpr[1]));
    let found = match cpu.host_for_update(gla, 16)? {
        // SAFETY: RAM of one page, 16 bytes inside it, aligned as checked above.
        Some(host) => unsafe { compare_exchange_16(host, expected, new) },
        None => {
            let found = (cpu.read(gla)?, cpu.read(gla.wrapping_add(8))?);
            let (low, high): (u64, u64) = if found == expected { new } else { found };
            cpu.write(gla, low)?;
            cpu.write(gla.wrapping_add(8), high)?;
            found
        }
    };
    cpu.set_zero(found == expected);
    if found != expected {
        (cpu.gpr[0], cpu.gpr[2]) = found;
    }
    Ok(())
}

fn cmov_reg<const CC: u8, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let from = if holds::<CC>(cpu.status) {
        op.src
    } else {
        op.dst
    };
    let value = T::get(&cpu.gpr, from);
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

fn cmov_mem<const CC: u8, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let loaded = cpu.load::<T>(op)?;
    let value = if holds::<CC>(cpu.status) {
        loaded
    } else {
        T::get(&cpu.gpr, op.dst)
    };
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

fn set_reg<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = u8::from(holds::<CC>(cpu.status));
    u8::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

fn set_mem<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = u8::from(holds::<CC>(cpu.status));
    cpu.store(op, value)
}

fn bswap32(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = u32::get(&cpu.gpr, op.dst).swap_bytes();
    u32::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

fn bswap64(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = u64::get(&cpu.gpr, op.dst).swap_bytes();
    u64::set(&mut cpu.gpr, op.dst, value);
    Ok(())
}

/// BSWAP r16 is undefined; processors store zero.
fn bswap16(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    u16::set(&mut cpu.gpr, op.dst, 0);
    Ok(())
}

/// CBW, CWDE, CDQE.
fn extend_accumulator<S: Word, D: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let value = S::get(&cpu.gpr, 0).to_i64() as u64;
    D::set(&mut cpu.gpr, 0, D::from_u64(value));
    Ok(())
}

/// CWD, CDQ, CQO.
fn sign_into_dx<T: Word>(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let sign = (T::get(&cpu.gpr, 0).to_i64() >> 63) as u64;
    T::set(&mut cpu.gpr, 16, T::from_u64(sign));
    Ok(())
}

macro_rules! by_size {
    ($size:expr, $f:ident) => {
        match $size {
            1 => $f::<u8>,
            2 => $f::<u16>,
            4 => $f::<u32>,
            _ => $f::<u64>,
        }
    };
}

macro_rules! by_condition_and_size {
    ($number:expr, $size:expr, $f:ident) => {
        match $size {
            2 => by_condition!($number, $f, u16),
            4 => by_condition!($number, $f, u32),
            _ => by_condition!($number, $f, u64),
        }
    };
}

fn mov_handler(insn: &Instruction, op: &mut Op) -> Option<Handler> {
    Some(match (place(insn, 0)?, place(insn, 1)?) {
        (Place::Register { offset, size }, Place::Register { offset: src, .. }) => {
            (op.dst, op.src) = (offset, src);
            by_size!(size, mov_reg_reg)
        }
        (Place::Register { offset, size }, Place::Immediate(value)) => {
            (op.dst, op.imm) = (offset, value);
            by_size!(size, mov_reg_imm)
        }
        (Place::Register { offset, size }, Place::Memory { .. }) => {
            op.dst = offset;
            by_size!(size, mov_reg_mem)
        }
        (Place::Memory { size }, Place::Register { offset, .. }) => {
            op.src = offset;
            by_size!(size, mov_mem_reg)
        }
        (Place::Memory { size }, Place::Immediate(value)) => {
            op.imm = value;
            by_size!(size, mov_mem_imm)
        }
        _ => return None,
    })
}

macro_rules! extend_choice {
    ($f:ident, $from:expr, $to:expr, $signed:literal) => {
        match ($from, $to) {
            (1, 2) => $f::<u8, u16, $signed>,
            (1, 4) => $f::<u8, u32, $signed>,
            (1, _) => $f::<u8, u64, $signed>,
            (2, 2) => $f::<u16, u16, $signed>,
            (2, 4) => $f::<u16, u32, $signed>,
            (2, _) => $f::<u16, u64, $signed>,
            (_, 2) => $f::<u16, u16, $signed>,
            (_, 4) => $f::<u32, u32, $signed>,
            _ => $f::<u32, u64, $signed>,
        }
    };
}

fn extend_handler(insn: &Instruction, op: &mut Op, signed: bool) -> Option<Handler> {
    let Place::Register { offset, size } = place(insn, 0)? else {
        return None;
    };
    op.dst = offset;
    Some(match (place(insn, 1)?, signed) {
        (
            Place::Register {
                offset: src,
                size: from,
            },
            true,
        ) => {
            op.src = src;
            extend_choice!(extend_reg, from, size, true)
        }
        (
            Place::Register {
                offset: src,
                size: from,
            },
            false,
        ) => {
            op.src = src;
            extend_choice!(extend_reg, from, size, false)
        }
        (Place::Memory { size: from }, true) => extend_choice!(extend_mem, from, size, true),
        (Place::Memory { size: from }, false) => extend_choice!(extend_mem, from, size, false),
        _ => return None,
    })
}

/// Notes a register/memory destination and a register source; answers (size, destination in memory).
fn destination_and_source(insn: &Instruction, op: &mut Op) -> Option<(u8, bool)> {
    let (first, second) = (place(insn, 0)?, place(insn, 1)?);
    match (first, second) {
        (Place::Register { offset, size }, Place::Register { offset: src, .. }) => {
            (op.dst, op.src) = (offset, src);
            Some((size, false))
        }
        (Place::Memory { size }, Place::Register { offset, .. })
        | (Place::Register { offset, size }, Place::Memory { .. }) => {
            op.src = offset;
            Some((size, true))
        }
        _ => None,
    }
}

fn cmov_handler(insn: &Instruction, op: &mut Op) -> Option<Handler> {
    let Place::Register { offset, size } = place(insn, 0)? else {
        return None;
    };
    op.dst = offset;
    let condition = number(insn)?;
    Some(match place(insn, 1)? {
        Place::Register { offset: src, .. } => {
            op.src = src;
            by_condition_and_size!(condition, size, cmov_reg)
        }
        _ => by_condition_and_size!(condition, size, cmov_mem),
    })
}

/// CMOVcc, as opposed to FCMOVcc, SETcc and the jumps.
fn is_cmov(insn: &Instruction) -> bool {
    insn.op_count() == 2
        && insn.op0_kind() == OpKind::Register
        && insn.op0_register().is_gpr()
        && number(insn).is_some()
}

/// The handler of a data-movement instruction, its operands noted in `op`.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, op: &mut Op) -> Option<Handler> {
    Some(match insn.mnemonic() {
        Mnemonic::Mov => mov_handler(insn, op)?,
        Mnemonic::Movzx => extend_handler(insn, op, false)?,
        Mnemonic::Movsx | Mnemonic::Movsxd => extend_handler(insn, op, true)?,
        Mnemonic::Lea => {
            let Place::Register { offset, size } = place(insn, 0)? else {
                return None;
            };
            op.dst = offset;
            by_size!(size, lea)
        }
        Mnemonic::Xchg => match destination_and_source(insn, op)? {
            (size, false) => by_size!(size, xchg_reg),
            (size, true) => by_size!(size, xchg_mem),
        },
        Mnemonic::Xadd => match destination_and_source(insn, op)? {
            (size, false) => by_size!(size, xadd_reg),
            (size, true) => by_size!(size, xadd_mem),
        },
        Mnemonic::Cmpxchg => match destination_and_source(insn, op)? {
            (size, false) => by_size!(size, cmpxchg_reg),
            (size, true) => by_size!(size, cmpxchg_mem),
        },
        Mnemonic::Cmpxchg8b => cmpxchg8b,
        Mnemonic::Cmpxchg16b => cmpxchg16b,
        Mnemonic::Bswap => {
            let Place::Register { offset, size } = place(insn, 0)? else {
                return None;
            };
            op.dst = offset;
            match size {
                2 => bswap16,
                4 => bswap32,
                _ => bswap64,
            }
        }
        Mnemonic::Cbw => extend_accumulator::<u8, u16>,
        Mnemonic::Cwde => extend_accumulator::<u16, u32>,
        Mnemonic::Cdqe => extend_accumulator::<u32, u64>,
        Mnemonic::Cwd => sign_into_dx::<u16>,
        Mnemonic::Cdq => sign_into_dx::<u32>,
        Mnemonic::Cqo => sign_into_dx::<u64>,
        _ if is_cmov(insn) => cmov_handler(insn, op)?,
        _ if number(insn).is_some() && insn.op_count() == 1 => match place(insn, 0)? {
            Place::Register { offset, .. } => {
                op.dst = offset;
                by_condition!(number(insn)?, set_reg)
            }
            _ => by_condition!(number(insn)?, set_mem),
        },
        _ => return None,
    })
}
