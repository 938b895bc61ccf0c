//! A copy-on-write layer over a disk that is never written: one that vanishes with the process, and
//! one that is kept as a qcow2.

mod copy;
mod fresh;
mod kept;
mod temporary;

pub(crate) use kept::{open_kept, open_layered};
pub use temporary::TemporaryOverlay;
