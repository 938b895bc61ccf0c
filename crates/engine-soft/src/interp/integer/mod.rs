//! Integer instructions.

use iced_x86::Instruction;

use super::decode::{Context, Lowered};

/// Lowers an integer instruction, if `insn` is one.
pub(crate) fn lower(_insn: &Instruction, _context: Context) -> Option<Lowered> {
    None
}
