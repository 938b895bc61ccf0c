//! Whole guests in lockstep: each unit of translated code is checked against the interpreter.
//!
//! Problem: a translation that is wrong shows itself millions of instructions later, if at all.
//! Choice: a mode of the engine in which one unit at a time runs, and runs again. Before it the
//! registers are copied ([`registers`]), and while it runs each page is copied before its first
//! write ([`journal_raw`]): outside a unit the TLB lets nobody write directly, so every first write to
//! a page comes through the MMU's slow path. Then both are put back and the unit runs a second time,
//! now with everything it needs in the TLB, then a third time in the interpreter, one instruction
//! after the other, until RIP is where translated code left it ([`check`]). Registers, written
//! pages, faults and exits must be equal; the interpreter's results are the ones that the guest goes on
//! with. Jumps to other units are taken like any others, but come out at once: nothing is linked,
//! and the table that indirect jumps look in leads outside.
//!
//! What cannot be repeated (clocks, random numbers, MSRs) is in no unit and not checked. Accessed and
//! dirty bits that a page walk sets are not taken back, since the TLB keeps what it was about to learn
//! from them. Other writers of the guest's RAM, vCPUs or devices with threads of their own, are not
//! known here: one vCPU, and devices that rest.
//!
//! Rejected: a second guest with RAM of its own (twice the memory, and every device's write would have
//! to come at the same instruction); comparing at exits only (does not name the unit).

mod check;
pub(crate) mod journal_raw;
mod registers;
mod report;

/// What was compared, for people.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) units: u64,
    pub(crate) instructions: u64,
    pub(crate) pages: u64,
    /// Units that were equal only with an empty TLB.
    pub(crate) flushed: u64,
}

#[cfg(test)]
mod tests;
