//! Two engines in lockstep over random programs.
//!
//! Problem: single instructions from a fresh state, as the comparison with the silicon runs them,
//! miss everything that happens between instructions: flags that live on over blocks, jumps that
//! are linked, accesses that hit the TLB, code that dies. Choice: programs that end by themselves,
//! in a guest with tables, handlers and devices of its own ([`layout`], [`handlers`]), run from the
//! same state on two engines, which must end in the same registers, the same RAM (page tables'
//! accessed and dirty bits included) and after the same exits. What faults is logged and mended by
//! the guest itself, so a program goes on after it.
//!
//! 32-bit programs run in compatibility mode in the same guest ([`narrow`]).
//!
//! Engines may take interrupts at different moments; so those that the machine injects write to a
//! page of their own, which is not compared.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "random bits are cut to whatever width is needed, and the guest is small"
)]

mod choices;
mod handlers;
mod layout;
mod narrow;
mod opcodes;
mod operands;
mod program;
mod run;
mod shrink;
mod special;
mod state;
mod thread_clock;

pub use choices::Choices;
pub use program::Program;
pub use run::{Pair, Verdict};
