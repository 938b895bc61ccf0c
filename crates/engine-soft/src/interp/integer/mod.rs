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

use std::sync::atomic::{AtomicU8, Ordering};

use iced_x86::{Instruction, Mnemonic};

use super::decode::Context;
use super::op::{Handler, Op};
use crate::cpu::CodeSize;

type Choose = fn(&Instruction, CodeSize, &mut Op) -> Option<Handler>;

/// Who may know the handler of an instruction, and whether blocks end after theirs.
const CHOICES: [(Choose, bool); 7] = [
    (branch::handler, true),
    (data::handler, false),
    (arithmetic::handler, false),
    (stack::handler, false),
    (bits::handler, false),
    (string::handler, false),
    (decimal::handler, false),
];

/// Who knew it last for each `Code` and size of code: to ask everybody takes longer than the rest of
/// decoding. Zero is for what was not met, [`NOBODY`] for what is no integer instruction.
static KNOWN: [AtomicU8; SIZES << CODE_BITS] = [const { AtomicU8::new(0) }; SIZES << CODE_BITS];
const NOBODY: u8 = u8::MAX;
const SIZES: usize = 3;
/// There are some five thousand.
const CODE_BITS: usize = 13;

/// Lowers an integer instruction into `op`, in which there is nothing yet. Answers whether the block
/// ends after it; `None` when it is none.
pub(crate) fn lower(insn: &Instruction, context: Context, op: &mut Op) -> Option<bool> {
    let size = context.code;
    op.set(insn, size);
    if insn.mnemonic() == Mnemonic::Nop {
        return Some(false);
    }
    let known =
        &KNOWN[(size as usize) << CODE_BITS | insn.code() as usize & ((1 << CODE_BITS) - 1)];
    let mut ask = |(choose, ends_block): &(Choose, bool)| {
        op.run = choose(insn, size, op)?;
        Some(*ends_block)
    };
    match known.load(Ordering::Relaxed) {
        NOBODY => return None,
        0 => {}
        number => return CHOICES.get(usize::from(number) - 1).and_then(ask),
    }
    let found = CHOICES
        .iter()
        .enumerate()
        .find_map(|(number, choice)| Some((number, ask(choice)?)));
    let number = found.map_or(NOBODY, |(number, _)| number as u8 + 1);
    known.store(number, Ordering::Relaxed);
    Some(found?.1)
}
