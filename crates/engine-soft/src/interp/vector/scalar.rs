//! The commonest of the newer instructions over general registers, without a stub: those that leave
//! the flags alone, and POPCNT. Spec: Intel SDM Vol. 2.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop, register_offset};
use crate::word::Word;

/// Lowers one of them. `op.dst` is the destination, `op.src` the register in the VEX prefix or of
/// MULX's second destination, `op.extra` the source register, or [`MEMORY`].
pub(super) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let wide = match insn.memory_size().size().max(register_bytes(insn)) {
        4 => false,
        8 => true,
        _ => return None,
    };
    macro_rules! either {
        ($f:ident) => {
            if wide { $f::<u64> } else { $f::<u32> }
        };
    }
    let (run, source, extra): (Handler, u32, Option<u32>) = match insn.mnemonic() {
        Mnemonic::Shlx => (either!(shlx), 1, Some(2)),
        Mnemonic::Shrx => (either!(shrx), 1, Some(2)),
        Mnemonic::Sarx => (either!(sarx), 1, Some(2)),
        Mnemonic::Rorx => (either!(rorx), 1, None),
        Mnemonic::Mulx => (either!(mulx), 2, Some(1)),
        Mnemonic::Popcnt => (either!(popcnt), 1, None),
        Mnemonic::Movbe if insn.op0_kind() == OpKind::Memory => (either!(movbe_to), 1, None),
        Mnemonic::Movbe => (either!(movbe_from), 1, None),
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    op.extra = match insn.op_kind(source) {
        OpKind::Memory => MEMORY,
        _ => u32::from(register_offset(insn.op_register(source))),
    };
    if let Some(extra) = extra {
        op.src = register_offset(insn.op_register(extra));
    }
    if insn.op0_kind() == OpKind::Register {
        op.dst = register_offset(insn.op0_register());
    }
    if insn.mnemonic() == Mnemonic::Rorx {
        op.imm = u64::from(insn.immediate8());
    }
    Lowered::straight(op)
}

/// The source is in memory.
const MEMORY: u32 = u32::MAX;

fn register_bytes(insn: &Instruction) -> usize {
    let registers = (0..insn.op_count()).filter(|&n| insn.op_kind(n) == OpKind::Register);
    registers
        .map(|n| insn.op_register(n).size())
        .max()
        .unwrap_or(0)
}

#[inline(always)]
fn source<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<T, Stop> {
    if op.extra == MEMORY {
        return cpu.load(op);
    }
    Ok(T::get(&cpu.gpr, op.extra as u8))
}

fn shlx<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    shift::<T>(cpu, op, |value, by| value.to_u64() << by)
}

fn shrx<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    shift::<T>(cpu, op, |value, by| value.to_u64() >> by)
}

fn sarx<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    shift::<T>(cpu, op, |value, by| (value.to_i64() >> by) as u64)
}

#[inline(always)]
fn shift<T: Word>(cpu: &mut Cpu, op: &Op, by: impl Fn(T, u32) -> u64) -> Result<(), Stop> {
    cpu.may_use_vex()?;
    let value = source::<T>(cpu, op)?;
    let count = T::get(&cpu.gpr, op.src).to_u64() as u32 & (T::BITS - 1);
    T::set(&mut cpu.gpr, op.dst, T::from_u64(by(value, count)));
    Ok(())
}

fn rorx<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_vex()?;
    let value = source::<T>(cpu, op)?.to_u64();
    let count = op.imm as u32 & (T::BITS - 1);
    // Two copies side by side, so that what leaves on the right comes in on the left.
    let twice = u128::from(value) << T::BITS | u128::from(value);
    T::set(&mut cpu.gpr, op.dst, T::from_u64((twice >> count) as u64));
    Ok(())
}

/// MULX: where both destinations are one register, the high half stays.
fn mulx<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    const RDX: u8 = 16;
    cpu.may_use_vex()?;
    let value = source::<T>(cpu, op)?.to_u64();
    let by = T::get(&cpu.gpr, RDX).to_u64();
    let product = u128::from(value) * u128::from(by);
    T::set(&mut cpu.gpr, op.src, T::from_u64(product as u64));
    let high = T::from_u64((product >> T::BITS) as u64);
    T::set(&mut cpu.gpr, op.dst, high);
    Ok(())
}

/// POPCNT: zero flag by the source, the others clear.
fn popcnt<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = source::<T>(cpu, op)?.to_u64();
    let count = u64::from(value.count_ones());
    T::set(&mut cpu.gpr, op.dst, T::from_u64(count));
    cpu.status = 0x200 | u16::from(value == 0) << 14;
    Ok(())
}

fn swap<T: Word>(value: T) -> T {
    T::from_u64(value.to_u64().swap_bytes() >> (64 - T::BITS))
}

fn movbe_from<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value: T = cpu.load(op)?;
    T::set(&mut cpu.gpr, op.dst, swap(value));
    Ok(())
}

fn movbe_to<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = T::get(&cpu.gpr, op.extra as u8);
    cpu.store(op, swap(value))
}
