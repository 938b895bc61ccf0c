//! System instructions: far transfers, interrupts, segments, control registers, I/O.

use iced_x86::Instruction;

use super::decode::{Context, Lowered};

pub(crate) mod deliver;

/// Lowers a system instruction, if `insn` is one.
pub(crate) fn lower(_insn: &Instruction, _context: Context) -> Option<Lowered> {
    None
}
