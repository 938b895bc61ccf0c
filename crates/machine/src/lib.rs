//! The machine: the only crate that joins devices and engines.
#![allow(
    clippy::cast_possible_truncation,
    reason = "register and table fields are narrower than the host's words; each value is bounded where it is made"
)]

pub mod boot;
pub mod bus;
pub mod layout;
mod ports;
mod sync;
pub mod tables;
pub mod time;
