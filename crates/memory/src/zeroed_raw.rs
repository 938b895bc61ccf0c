//! Long arrays of zeros that cost nothing until they are written to.

use std::sync::atomic::AtomicU64;

/// So many zeros. The allocator has fresh pages of the host's for long ones, which it need not touch;
/// made one by one, they would all be touched.
pub(crate) fn zeroed(count: usize) -> Box<[AtomicU64]> {
    let words = vec![0u64; count].into_boxed_slice();
    let words = Box::into_raw(words) as *mut [AtomicU64];
    // SAFETY: the box was just given up, and nobody else has its words. An AtomicU64 has the size, the
    // validity and, on the 64-bit hosts that there are, the alignment of a u64, as its documentation says.
    unsafe { Box::from_raw(words) }
}
