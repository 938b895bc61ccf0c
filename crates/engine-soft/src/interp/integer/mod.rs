//! Integer instructions. Spec: Intel SDM Vol. 2.

mod alu_raw;
mod arithmetic;
mod bits;
mod branch;
pub(crate) mod condition;
mod data;
mod decimal;
pub(crate) mod operand;
mod stack;
mod string;
mod string_raw;

use iced_x86::{Instruction, Mnemonic};

use super::decode::{Context, Lowered};
use super::op::{Handler, Op, Stop};
use crate::cpu::Cpu;

/// Until its handler is known.
fn nothing(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    Ok(())
}

/// Lowers an integer instruction, if `insn` is one.
pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let code = context.code;
    let mut op = Op::new(insn, code, nothing);
    if insn.mnemonic() == Mnemonic::Nop {
        return Lowered::straight(op);
    }
    type Choose = fn(&Instruction, crate::cpu::CodeSize, &mut Op) -> Option<Handler>;
    const STRAIGHT: [Choose; 6] = [
        data::handler,
        arithmetic::handler,
        stack::handler,
        bits::handler,
        string::handler,
        decimal::handler,
    ];
    if let Some(run) = branch::handler(insn, code, &mut op) {
        op.run = run;
        return Lowered::ending(op);
    }
    let run = STRAIGHT
        .iter()
        .find_map(|choose| choose(insn, code, &mut op))?;
    op.run = run;
    Lowered::straight(op)
}
