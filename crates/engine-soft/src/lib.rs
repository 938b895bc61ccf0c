//! The engine contract in software.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "register semantics are truncation and reinterpretation at architectural widths"
)]

mod address;
mod cpu;
mod interp;
mod lockstep;
mod mmu;
mod msrs;
mod replay;
mod translate;
mod tsc;
mod vcpu;
mod word;

pub use vcpu::SoftEngine;
