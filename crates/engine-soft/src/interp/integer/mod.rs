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

use super::decode::Context;
use super::op::{Handler, Op};

/// Lowers an integer instruction into `op`, in which there is nothing yet. Answers whether the block
/// ends after it; `None` when it is none.
pub(crate) fn lower(insn: &Instruction, context: Context, op: &mut Op) -> Option<bool> {
    let code = context.code;
    op.set(insn, code);
    if insn.mnemonic() == Mnemonic::Nop {
        return Some(false);
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
    if let Some(run) = branch::handler(insn, code, op) {
        op.run = run;
        return Some(true);
    }
    let run = STRAIGHT.iter().find_map(|choose| choose(insn, code, op))?;
    op.run = run;
    Some(false)
}
