//! INT n, INT3, INTO, INT1 and BOUND. Spec: Intel SDM Vol. 2, "INT n/INTO/INT3/INT1" and "BOUND".

use iced_x86::{Code, Instruction};
use x86::Exception;
use x86::exception::vector;

use super::deliver::{self, Source};
use super::vme;
use crate::cpu::{Cpu, attention};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop, register_offset};
use crate::word::Word;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.code() {
        Code::Int_imm8 => int,
        Code::Int3 => int3,
        Code::Int1 => int1,
        Code::Into => into,
        Code::Bound_r16_m1616 => bound::<u16>,
        Code::Bound_r32_m3232 => bound::<u32>,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    match insn.code() {
        Code::Int_imm8 => op.imm = u64::from(insn.immediate8()),
        Code::Bound_r16_m1616 | Code::Bound_r32_m3232 => {
            op.dst = register_offset(insn.op0_register());
            return Lowered::straight(op);
        }
        _ => {}
    }
    Lowered::ending(op)
}

fn int(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let vector = op.imm as u8;
    if cpu.virtual_8086() {
        return vme::software_interrupt(cpu, vector);
    }
    deliver::enter(cpu, vector, None, Source::Software)
}

fn int3(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    deliver::enter(cpu, vector::BP, None, Source::Software)
}

/// One #DB for all: data breakpoints that a MOV SS before it held off are told with it.
fn int1(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    deliver::enter(cpu, vector::DB, None, Source::Privileged)?;
    if cpu.debug_pending != 0 {
        cpu.dr[4] = cpu.dr[4] & !0xf | cpu.debug_pending;
        cpu.debug_pending = 0;
        cpu.set_attention(attention::DEBUG, false);
    }
    Ok(())
}

fn into(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    if cpu.status & 1 == 0 {
        return Ok(());
    }
    deliver::enter(cpu, vector::OF, None, Source::Software)
}

fn bound<T: Word>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let index = T::get(&cpu.gpr, op.dst).to_i64();
    let at = cpu.linear(op, 2 * u32::from(T::BYTES), false)?;
    // The upper bound is not looked at when the lower one decides.
    if index < cpu.read::<T>(at)?.to_i64() {
        return cpu.raise(Exception::plain(vector::BR));
    }
    let upper = cpu.along(at, usize::from(T::BYTES));
    if index > cpu.read::<T>(upper)?.to_i64() {
        return cpu.raise(Exception::plain(vector::BR));
    }
    Ok(())
}
