//! BT and its kin, BSF, BSR, and instructions on single flags.

use iced_x86::{Instruction, Mnemonic};
use x86::register::rflags;

use super::alu_raw::{Binary, Bsf, Bsr, Bt, Btc, Btr, Bts};
use super::operand::{Place, place};
use crate::cpu::{CodeSize, Cpu, FLAT};
use crate::interp::op::{AddressForm, Handler, LOCK, Op, Stop};
use crate::word::Word;

fn reg_reg<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let b = if op.extra == 0 {
        T::get(&cpu.gpr, op.src)
    } else {
        T::from_u64(op.imm)
    };
    let (result, status) = O::apply(T::get(&cpu.gpr, op.dst), b, cpu.status);
    T::set(&mut cpu.gpr, op.dst, result);
    cpu.status = status;
    Ok(())
}

fn scan_reg<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let b = T::get(&cpu.gpr, op.src);
    scan::<O, T>(cpu, op, b);
    Ok(())
}

fn scan_mem<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let b = cpu.load(op)?;
    scan::<O, T>(cpu, op, b);
    Ok(())
}

/// BSF and BSR of zero leave the whole destination, the upper half of a 64-bit register included.
#[inline(always)]
fn scan<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op, b: T) {
    let (result, status) = O::apply(T::get(&cpu.gpr, op.dst), b, cpu.status);
    if b.to_u64() != 0 {
        T::set(&mut cpu.gpr, op.dst, result);
    }
    cpu.status = status;
}

/// Only flags change: BT.
fn test_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Bt: Binary<T>,
{
    let b = if op.extra == 0 {
        T::get(&cpu.gpr, op.src)
    } else {
        T::from_u64(op.imm)
    };
    (_, cpu.status) = Bt::apply(T::get(&cpu.gpr, op.dst), b, cpu.status);
    Ok(())
}

fn mem_imm<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let b = T::from_u64(op.imm);
    cpu.update(op, |a, status| O::apply(a, b, status))
        .map(|_: T| ())
}

fn test_mem_imm<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Bt: Binary<T>,
{
    let a = cpu.load(op)?;
    (_, cpu.status) = Bt::apply(a, T::from_u64(op.imm), cpu.status);
    Ok(())
}

/// With a register index the bit string reaches beyond the operand: address of the word that holds
/// bit `index`. Spec: "BT", bit base and offset.
fn bit_string<T: Word>(cpu: &mut Cpu, op: &Op, write: bool) -> Result<u64, Stop> {
    let index = T::get(&cpu.gpr, op.src).to_i64();
    let bytes = (index >> T::BITS.trailing_zeros()) * i64::from(T::BYTES);
    let offset = cpu.offset(op).wrapping_add_signed(bytes);
    let offset = match op.form {
        AddressForm::Long64 => offset,
        AddressForm::Legacy16 => offset & 0xffff,
        _ => offset & 0xffff_ffff,
    };
    if op.seg == FLAT {
        return Ok(offset);
    }
    cpu.linear_in(op.seg, offset, u32::from(T::BYTES), write)
}

fn mem_reg<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let gla = bit_string::<T>(cpu, op, true)?;
    let b = T::get(&cpu.gpr, op.src);
    cpu.update_at(gla, op.flags & LOCK != 0, |a, status| {
        O::apply(a, b, status)
    })
    .map(|_: T| ())
}

fn test_mem_reg<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    Bt: Binary<T>,
{
    let gla = bit_string::<T>(cpu, op, false)?;
    let a = cpu.read(gla)?;
    let b = T::get(&cpu.gpr, op.src);
    (_, cpu.status) = Bt::apply(a, b, cpu.status);
    Ok(())
}

fn clc(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.set_carry(false);
    Ok(())
}

fn stc(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.set_carry(true);
    Ok(())
}

fn cmc(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.status ^= 0x100;
    Ok(())
}

fn cld(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.rflags &= !rflags::DF;
    Ok(())
}

fn std(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.rflags |= rflags::DF;
    Ok(())
}

fn lahf(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let flags = (cpu.status >> 8) as u8 & 0xd5 | 2;
    u8::set(&mut cpu.gpr, 1, flags);
    Ok(())
}

fn sahf(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let flags = u16::from(u8::get(&cpu.gpr, 1)) & 0xd5 | 2;
    cpu.status = cpu.status & 1 | flags << 8;
    Ok(())
}

macro_rules! wide {
    ($size:expr, $f:ident $(, $o:ty)?) => {
        match $size {
            2 => $f::<$($o,)? u16>,
            4 => $f::<$($o,)? u32>,
            _ => $f::<$($o,)? u64>,
        }
    };
}

macro_rules! modify {
    ($insn:expr, $op:expr, $o:ty) => {
        match operands($insn, $op)? {
            (false, size, _) => wide!(size, reg_reg, $o),
            (true, size, false) => wide!(size, mem_reg, $o),
            (true, size, true) => wide!(size, mem_imm, $o),
        }
    };
}

macro_rules! scan {
    ($insn:expr, $op:expr, $o:ty) => {{
        let Place::Register { offset, size } = place($insn, 0)? else {
            return None;
        };
        $op.dst = offset;
        match place($insn, 1)? {
            Place::Register { offset: src, .. } => {
                $op.src = src;
                wide!(size, scan_reg, $o)
            }
            _ => wide!(size, scan_mem, $o),
        }
    }};
}

/// Notes the operands of BT and its kin: (bit base in memory, size, index is immediate).
fn operands(insn: &Instruction, op: &mut Op) -> Option<(bool, u8, bool)> {
    let immediate = match place(insn, 1)? {
        Place::Register { offset, .. } => {
            op.src = offset;
            false
        }
        Place::Immediate(value) => {
            op.imm = value;
            op.extra = 1;
            true
        }
        Place::Memory { .. } => return None,
    };
    match place(insn, 0)? {
        Place::Register { offset, size } => {
            op.dst = offset;
            Some((false, size, immediate))
        }
        Place::Memory { size } => Some((true, size, immediate)),
        Place::Immediate(_) => None,
    }
}

/// The handler of a bit or flag instruction, its operands noted in `op`.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, op: &mut Op) -> Option<Handler> {
    Some(match insn.mnemonic() {
        Mnemonic::Bt => match operands(insn, op)? {
            (false, size, _) => wide!(size, test_reg),
            (true, size, false) => wide!(size, test_mem_reg),
            (true, size, true) => wide!(size, test_mem_imm),
        },
        Mnemonic::Bts => modify!(insn, op, Bts),
        Mnemonic::Btr => modify!(insn, op, Btr),
        Mnemonic::Btc => modify!(insn, op, Btc),
        Mnemonic::Bsf => scan!(insn, op, Bsf),
        Mnemonic::Bsr => scan!(insn, op, Bsr),
        Mnemonic::Clc => clc,
        Mnemonic::Stc => stc,
        Mnemonic::Cmc => cmc,
        Mnemonic::Cld => cld,
        Mnemonic::Std => std,
        Mnemonic::Lahf => lahf,
        Mnemonic::Sahf => sahf,
        _ => return None,
    })
}
