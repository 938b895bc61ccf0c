//! Memory for rings, which the kernel may write.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::MemoryTable;

/// Where the guest has it.
pub(super) const BASE: u64 = 0x10_0000;

/// One piece, which others may write as they like.
pub(super) fn table(words: &Arc<[AtomicU64]>) -> MemoryTable {
    let start = words.as_ptr().cast_mut().cast();
    let piece = (BASE, 8 * words.len() as u64, start);
    // SAFETY: the words live as long as the table, and are atomic: anybody may write them.
    unsafe { MemoryTable::new([piece], Arc::clone(words)) }.unwrap()
}
