//! The engine contract in software.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "register semantics are truncation and reinterpretation at architectural widths"
)]

mod address;
mod apart_raw;
mod cpu;
mod interp;
mod kin;
mod lockstep;
mod mmu;
mod msrs;
mod rehearsal;
mod replay;
mod translate;
mod tsc;
mod vcpu;
mod word;

pub use kin::begin_kin;
pub use rehearsal::rehearse;
pub use translate::is_of_kin;
pub use vcpu::SoftEngine;
