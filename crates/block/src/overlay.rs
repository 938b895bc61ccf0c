//! A copy-on-write layer over a disk that is never written: one that vanishes with the process, and
//! one that is kept as a qcow2.

mod kept;
mod temporary;

pub(crate) use kept::open_kept;
pub use temporary::TemporaryOverlay;
