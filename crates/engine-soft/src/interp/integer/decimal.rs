//! DAA DAS AAA AAS AAM AAD, XLAT, SALC. Spec: Intel SDM Vol. 2; the decimal ones exist outside
//! 64-bit mode only, so the host cannot execute them and they are written out.

use iced_x86::{Instruction, Mnemonic};
use x86::Exception;
use x86::exception::vector;

use super::alu_raw::{Binary, Test};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Handler, Op, Stop};
use crate::word::Word;

const CF: u16 = 0x100;
const AF: u16 = 0x1000;

/// Sets SF, ZF and PF from AL and the given carry and auxiliary carry; OF is cleared.
fn set_flags(cpu: &mut Cpu, al: u8, carry: bool, auxiliary: bool) {
    let (_, status) = Test::apply(al, al, cpu.status);
    let bits = if carry { CF } else { 0 } | if auxiliary { AF } else { 0 };
    cpu.status = status & !(CF | AF) | bits;
}

fn daa(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    adjust_packed(cpu, u8::wrapping_add)
}

fn das(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    adjust_packed(cpu, u8::wrapping_sub)
}

fn adjust_packed(cpu: &mut Cpu, step: fn(u8, u8) -> u8) -> Result<(), Stop> {
    let old = u8::get(&cpu.gpr, 0);
    let (carry, auxiliary) = (cpu.status & CF != 0, cpu.status & AF != 0);
    let mut al = old;
    let low = old & 15 > 9 || auxiliary;
    let mut carry_out = false;
    if low {
        al = step(al, 6);
        // DAS also borrows here when AL was below 6.
        carry_out = carry || step(1, 1) == 0 && old < 6;
    }
    if old > 0x99 || carry {
        al = step(al, 0x60);
        carry_out = true;
    }
    u8::set(&mut cpu.gpr, 0, al);
    set_flags(cpu, al, carry_out, low);
    Ok(())
}

fn aaa(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    adjust_unpacked(cpu, 0x106u16)
}

fn aas(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    adjust_unpacked(cpu, 0x106u16.wrapping_neg())
}

fn adjust_unpacked(cpu: &mut Cpu, by: u16) -> Result<(), Stop> {
    let ax = u16::get(&cpu.gpr, 0);
    let adjust = ax & 15 > 9 || cpu.status & AF != 0;
    let ax = if adjust { ax.wrapping_add(by) } else { ax };
    u16::set(&mut cpu.gpr, 0, ax & 0xff0f);
    set_flags(cpu, ax as u8 & 15, adjust, adjust);
    Ok(())
}

fn aam(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let (al, by) = (u8::get(&cpu.gpr, 0), op.imm as u8);
    let Some(high) = al.checked_div(by) else {
        return cpu.raise(Exception::plain(vector::DE));
    };
    let low = al % by;
    u16::set(&mut cpu.gpr, 0, u16::from(high) << 8 | u16::from(low));
    set_flags(cpu, low, false, false);
    Ok(())
}

fn aad(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let ax = u16::get(&cpu.gpr, 0);
    let al = (ax as u8).wrapping_add(((ax >> 8) as u8).wrapping_mul(op.imm as u8));
    u16::set(&mut cpu.gpr, 0, u16::from(al));
    set_flags(cpu, al, false, false);
    Ok(())
}

/// Undocumented but universal: AL = CF ? FFh : 0.
fn salc(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let value = if cpu.status & CF != 0 { 0xff } else { 0 };
    u8::set(&mut cpu.gpr, 0, value);
    Ok(())
}

/// The memory operand is [rBX + AL] as decoded, AL added here.
fn xlat(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let mut with_al = *op;
    with_al.index = crate::cpu::ZERO_SLOT;
    with_al.disp = cpu.gpr[0] & 0xff;
    let value: u8 = cpu.load(&with_al)?;
    u8::set(&mut cpu.gpr, 0, value);
    Ok(())
}

/// The handler of one of these, its operands noted in `op`.
pub(crate) fn handler(insn: &Instruction, _code: CodeSize, op: &mut Op) -> Option<Handler> {
    Some(match insn.mnemonic() {
        Mnemonic::Daa => daa,
        Mnemonic::Das => das,
        Mnemonic::Aaa => aaa,
        Mnemonic::Aas => aas,
        Mnemonic::Aam => {
            op.imm = insn.immediate(0);
            aam
        }
        Mnemonic::Aad => {
            op.imm = insn.immediate(0);
            aad
        }
        Mnemonic::Salc => salc,
        Mnemonic::Xlatb => xlat,
        _ => return None,
    })
}
