//! What every engine must do, as tests over its contract.
//!
//! Two kinds. Contract tests ([`run_all`]) drive an engine through exits and entries with guests of
//! a few instructions. Guest tests ([`guests`]) are assembly files that say in their header which
//! registers go in and which come out; a reader adds one without writing code.
//!
//! An engine's own crate calls both from its tests, with a function that makes an engine around a
//! guest's memory.

mod bench;
mod contract;
pub mod guests;
mod image;
pub mod lockstep;
mod report;
pub mod sets;

pub use bench::{Bench, Make, Trouble};
pub use contract::run_all;
pub use image::{CODE, DATA, Image, Mode, STACK};
pub use report::{Report, Verdict};
