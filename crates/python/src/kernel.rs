//! What kind of kernel a file is, for those who choose its machine.

use machine::boot;
use pyo3::prelude::*;

/// How much of a file [`is_multiboot`] wants to see.
pub(crate) const PROBE_LEN: usize = boot::PROBE_LEN;

#[pyfunction]
pub(crate) fn is_multiboot(head: &[u8]) -> bool {
    boot::is_multiboot(head)
}
