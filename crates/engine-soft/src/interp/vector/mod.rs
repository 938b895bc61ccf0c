//! x87, MMX, SSE and AVX: the guest's instruction is executed by the host's own.

pub(crate) mod available;

use iced_x86::Instruction;

use super::decode::{Context, Lowered};

/// Lowers a vector or floating-point instruction, if `insn` is one.
pub(crate) fn lower(_insn: &Instruction, _context: Context) -> Option<Lowered> {
    None
}
