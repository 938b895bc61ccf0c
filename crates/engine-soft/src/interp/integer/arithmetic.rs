//! ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT, shifts and rotates, multiply and divide.

use iced_x86::{Instruction, Mnemonic, OpKind};
use x86::Exception;
use x86::exception::vector;

use super::alu_raw::{self, Binary, DoubleShift, Shift, Unary, Wide};
use super::operand::{Place, place};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Handler, Op, Stop};
use crate::word::Word;

fn reg_reg<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    finish::<O, T>(cpu, op, a, b)
}

fn reg_imm<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::from_u64(op.imm));
    finish::<O, T>(cpu, op, a, b)
}

fn reg_mem<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let b = cpu.load(op)?;
    let a = T::get(&cpu.gpr, op.dst);
    finish::<O, T>(cpu, op, a, b)
}

#[inline(always)]
fn finish<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op, a: T, b: T) -> Result<(), Stop> {
    let (result, status) = O::apply(a, b, cpu.status);
    if O::WRITES {
        T::set(&mut cpu.gpr, op.dst, result);
    }
    cpu.status = status;
    Ok(())
}

fn mem_reg<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let b = T::get(&cpu.gpr, op.src);
    mem_any::<O, T>(cpu, op, b)
}

fn mem_imm<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    mem_any::<O, T>(cpu, op, T::from_u64(op.imm))
}

#[inline(always)]
fn mem_any<O: Binary<T>, T: Word>(cpu: &mut Cpu, op: &Op, b: T) -> Result<(), Stop> {
    if O::WRITES {
        cpu.update(op, |a, status| O::apply(a, b, status))
            .map(|_: T| ())
    } else {
        let a = cpu.load(op)?;
        (_, cpu.status) = O::apply(a, b, cpu.status);
        Ok(())
    }
}

fn unary_reg<O: Unary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (result, status) = O::apply(T::get(&cpu.gpr, op.dst), cpu.status);
    T::set(&mut cpu.gpr, op.dst, result);
    cpu.status = status;
    Ok(())
}

fn unary_mem<O: Unary<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.update(op, O::apply).map(|_: T| ())
}

/// Count of a shift: CL or the immediate, masked to 5 bits, or 6 for 64-bit operands.
#[inline(always)]
fn shift_count<T: Word>(cpu: &Cpu, op: &Op) -> u8 {
    let raw = if op.extra == 0 {
        op.imm as u8
    } else {
        cpu.gpr[1] as u8
    };
    raw & if T::BYTES == 8 { 63 } else { 31 }
}

fn shift_reg<O: Shift<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let count = shift_count::<T>(cpu, op);
    let mut result = T::get(&cpu.gpr, op.dst);
    if count != 0 {
        (result, cpu.status) = O::apply(result, count, cpu.status);
    }
    // A 32-bit shift by zero still clears the upper half.
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(())
}

fn shift_mem<O: Shift<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let count = shift_count::<T>(cpu, op);
    let change = |a, status| {
        if count == 0 {
            (a, status)
        } else {
            O::apply(a, count, status)
        }
    };
    cpu.update(op, change).map(|_: T| ())
}

fn double_shift_reg<O: DoubleShift<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let count = shift_count::<T>(cpu, op);
    let mut result = T::get(&cpu.gpr, op.dst);
    let from = T::get(&cpu.gpr, op.src);
    if count != 0 {
        (result, cpu.status) = O::apply(result, from, count, cpu.status);
    }
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(())
}

fn double_shift_mem<O: DoubleShift<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let count = shift_count::<T>(cpu, op);
    let from = T::get(&cpu.gpr, op.src);
    let change = |a, status| {
        if count == 0 {
            (a, status)
        } else {
            O::apply(a, from, count, status)
        }
    };
    cpu.update(op, change).map(|_: T| ())
}

#[inline(always)]
fn source<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<T, Stop> {
    if op.extra == 0 {
        Ok(T::get(&cpu.gpr, op.src))
    } else {
        cpu.load(op)
    }
}

fn multiply<O: Wide<T>, T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let by = source::<T>(cpu, op)?;
    let (low, high) = (T::get(&cpu.gpr, 0), T::get(&cpu.gpr, 16));
    let (low, high, status) = O::apply(low, high, by, cpu.status);
    T::set(&mut cpu.gpr, 0, low);
    T::set(&mut cpu.gpr, 16, high);
    cpu.status = status;
    Ok(())
}

/// DIV and IDIV. The quotient must fit, or the host itself would fault.
fn divide<O: Wide<T>, T: Word, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let by = source::<T>(cpu, op)?;
    let (low, high) = (T::get(&cpu.gpr, 0), T::get(&cpu.gpr, 16));
    let fits = if SIGNED {
        signed_fits(low, high, by)
    } else {
        high.to_u64() < by.to_u64()
    };
    if !fits {
        return cpu.raise(Exception::plain(vector::DE));
    }
    let (quotient, remainder, status) = O::apply(low, high, by, cpu.status);
    T::set(&mut cpu.gpr, 0, quotient);
    T::set(&mut cpu.gpr, 16, remainder);
    cpu.status = status;
    Ok(())
}

fn signed_fits<T: Word>(low: T, high: T, by: T) -> bool {
    let by = i128::from(by.to_i64());
    if by == 0 {
        return false;
    }
    let dividend = i128::from(high.to_i64()) << T::BITS | i128::from(low.to_u64());
    dividend.checked_div(by).is_some_and(|quotient| {
        let most = i128::from(u64::MAX >> (65 - T::BITS));
        (-most - 1..=most).contains(&quotient)
    })
}

fn multiply_byte<const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let by = source::<u8>(cpu, op)?;
    let ax = u16::get(&cpu.gpr, 0);
    let step = if SIGNED {
        alu_raw::imul_byte
    } else {
        alu_raw::mul_byte
    };
    let (ax, status) = step(ax, by, cpu.status);
    u16::set(&mut cpu.gpr, 0, ax);
    cpu.status = status;
    Ok(())
}

fn divide_byte<const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let by = source::<u8>(cpu, op)?;
    let ax = u16::get(&cpu.gpr, 0);
    let fits = if SIGNED {
        (ax as i16)
            .checked_div(i16::from(by as i8))
            .is_some_and(|q| i8::try_from(q).is_ok())
    } else {
        ax.checked_div(u16::from(by)).is_some_and(|q| q <= 0xff)
    };
    if !fits {
        return cpu.raise(Exception::plain(vector::DE));
    }
    let step = if SIGNED {
        alu_raw::idiv_byte
    } else {
        alu_raw::div_byte
    };
    let (ax, status) = step(ax, by, cpu.status);
    u16::set(&mut cpu.gpr, 0, ax);
    cpu.status = status;
    Ok(())
}

/// IMUL r, r/m, imm: the destination is not a source.
fn imul_three<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop>
where
    alu_raw::Imul: Binary<T>,
{
    let a = source::<T>(cpu, op)?;
    let (result, status) = alu_raw::Imul::apply(a, T::from_u64(op.imm), cpu.status);
    T::set(&mut cpu.gpr, op.dst, result);
    cpu.status = status;
    Ok(())
}

macro_rules! sized {
    ($size:expr, $f:ident, $o:ty) => {
        match $size {
            1 => $f::<$o, u8>,
            2 => $f::<$o, u16>,
            4 => $f::<$o, u32>,
            _ => $f::<$o, u64>,
        }
    };
}

macro_rules! wide_sized {
    ($size:expr, $f:ident, $o:ty $(, $extra:tt)?) => {
        match $size {
            2 => $f::<$o, u16 $(, $extra)?>,
            4 => $f::<$o, u32 $(, $extra)?>,
            _ => $f::<$o, u64 $(, $extra)?>,
        }
    };
}

macro_rules! binary_handler {
    ($insn:expr, $op:expr, $o:ty) => {{
        let run: Handler = match (place($insn, 0)?, place($insn, 1)?) {
            (Place::Register { offset, size }, Place::Register { offset: src, .. }) => {
                ($op.dst, $op.src) = (offset, src);
                sized!(size, reg_reg, $o)
            }
            (Place::Register { offset, size }, Place::Immediate(value)) => {
                ($op.dst, $op.imm) = (offset, value);
                sized!(size, reg_imm, $o)
            }
            (Place::Register { offset, size }, Place::Memory { .. }) => {
                $op.dst = offset;
                sized!(size, reg_mem, $o)
            }
            (Place::Memory { size }, Place::Register { offset, .. }) => {
                $op.src = offset;
                sized!(size, mem_reg, $o)
            }
            (Place::Memory { size }, Place::Immediate(value)) => {
                $op.imm = value;
                sized!(size, mem_imm, $o)
            }
            _ => return None,
        };
        run
    }};
}

macro_rules! unary_handler {
    ($insn:expr, $op:expr, $o:ty) => {{
        let run: Handler = match place($insn, 0)? {
            Place::Register { offset, size } => {
                $op.dst = offset;
                sized!(size, unary_reg, $o)
            }
            Place::Memory { size } => sized!(size, unary_mem, $o),
            Place::Immediate(_) => return None,
        };
        run
    }};
}

macro_rules! shift_handler {
    ($insn:expr, $op:expr, $o:ty) => {{
        match place($insn, 1)? {
            Place::Immediate(value) => $op.imm = value,
            _ => $op.extra = 1,
        }
        let run: Handler = match place($insn, 0)? {
            Place::Register { offset, size } => {
                $op.dst = offset;
                sized!(size, shift_reg, $o)
            }
            Place::Memory { size } => sized!(size, shift_mem, $o),
            Place::Immediate(_) => return None,
        };
        run
    }};
}

/// A rotation of a register by an immediate, which leaves OF on some hosts. By 1 it is defined, by 0
/// nothing happens.
fn keeps_overflow(insn: &Instruction) -> bool {
    let mask = if insn.op0_register().size() == 8 {
        63
    } else {
        31
    };
    insn.op0_kind() == OpKind::Register
        && insn.op1_kind() == OpKind::Immediate8
        && insn.immediate8() & mask > 1
        && alu_raw::immediate_rotations_keep_overflow()
}

macro_rules! double_shift_handler {
    ($insn:expr, $op:expr, $o:ty) => {{
        match place($insn, 2)? {
            Place::Immediate(value) => $op.imm = value,
            _ => $op.extra = 1,
        }
        let Place::Register { offset: src, .. } = place($insn, 1)? else {
            return None;
        };
        $op.src = src;
        let run: Handler = match place($insn, 0)? {
            Place::Register { offset, size } => {
                $op.dst = offset;
                wide_sized!(size, double_shift_reg, $o)
            }
            Place::Memory { size } => wide_sized!(size, double_shift_mem, $o),
            Place::Immediate(_) => return None,
        };
        run
    }};
}

/// Notes where the only explicit operand of MUL and its like is; answers its size.
fn set_source(insn: &Instruction, n: u32, op: &mut Op) -> Option<u8> {
    match place(insn, n)? {
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

fn imul_handler(insn: &Instruction, op: &mut Op) -> Option<Handler> {
    match insn.op_count() {
        1 => Some(match set_source(insn, 0, op)? {
            1 => multiply_byte::<true>,
            size => wide_sized!(size, multiply, alu_raw::ImulWide),
        }),
        2 => {
            let Place::Register { offset, size } = place(insn, 0)? else {
                return None;
            };
            op.dst = offset;
            Some(match place(insn, 1)? {
                Place::Register { offset: src, .. } => {
                    op.src = src;
                    wide_sized!(size, reg_reg, alu_raw::Imul)
                }
                _ => wide_sized!(size, reg_mem, alu_raw::Imul),
            })
        }
        _ => {
            let Place::Register { offset, .. } = place(insn, 0)? else {
                return None;
            };
            op.dst = offset;
            let size = set_source(insn, 1, op)?;
            op.imm = insn.immediate(2);
            Some(match size {
                2 => imul_three::<u16>,
                4 => imul_three::<u32>,
                _ => imul_three::<u64>,
            })
        }
    }
}

/// The handler of an arithmetic instruction, its operands noted in `op`.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, op: &mut Op) -> Option<Handler> {
    Some(match insn.mnemonic() {
        Mnemonic::Add => binary_handler!(insn, op, alu_raw::Add),
        Mnemonic::Or => binary_handler!(insn, op, alu_raw::Or),
        Mnemonic::Adc => binary_handler!(insn, op, alu_raw::Adc),
        Mnemonic::Sbb => binary_handler!(insn, op, alu_raw::Sbb),
        Mnemonic::And => binary_handler!(insn, op, alu_raw::And),
        Mnemonic::Sub => binary_handler!(insn, op, alu_raw::Sub),
        Mnemonic::Xor => binary_handler!(insn, op, alu_raw::Xor),
        Mnemonic::Cmp => binary_handler!(insn, op, alu_raw::Cmp),
        Mnemonic::Test => binary_handler!(insn, op, alu_raw::Test),
        Mnemonic::Inc => unary_handler!(insn, op, alu_raw::Inc),
        Mnemonic::Dec => unary_handler!(insn, op, alu_raw::Dec),
        Mnemonic::Neg => unary_handler!(insn, op, alu_raw::Neg),
        Mnemonic::Not => unary_handler!(insn, op, alu_raw::Not),
        Mnemonic::Rol if keeps_overflow(insn) => {
            shift_handler!(insn, op, alu_raw::KeepsOverflow<alu_raw::Rol>)
        }
        Mnemonic::Ror if keeps_overflow(insn) => {
            shift_handler!(insn, op, alu_raw::KeepsOverflow<alu_raw::Ror>)
        }
        Mnemonic::Rol => shift_handler!(insn, op, alu_raw::Rol),
        Mnemonic::Ror => shift_handler!(insn, op, alu_raw::Ror),
        Mnemonic::Rcl => shift_handler!(insn, op, alu_raw::Rcl),
        Mnemonic::Rcr => shift_handler!(insn, op, alu_raw::Rcr),
        Mnemonic::Shl | Mnemonic::Sal => shift_handler!(insn, op, alu_raw::Shl),
        Mnemonic::Shr => shift_handler!(insn, op, alu_raw::Shr),
        Mnemonic::Sar => shift_handler!(insn, op, alu_raw::Sar),
        Mnemonic::Shld => double_shift_handler!(insn, op, alu_raw::Shld),
        Mnemonic::Shrd => double_shift_handler!(insn, op, alu_raw::Shrd),
        Mnemonic::Mul => match set_source(insn, 0, op)? {
            1 => multiply_byte::<false>,
            size => wide_sized!(size, multiply, alu_raw::MulWide),
        },
        Mnemonic::Imul => imul_handler(insn, op)?,
        Mnemonic::Div => match set_source(insn, 0, op)? {
            1 => divide_byte::<false>,
            size => wide_sized!(size, divide, alu_raw::DivWide, false),
        },
        Mnemonic::Idiv => match set_source(insn, 0, op)? {
            1 => divide_byte::<true>,
            size => wide_sized!(size, divide, alu_raw::IdivWide, true),
        },
        _ => return None,
    })
}
