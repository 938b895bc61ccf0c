//! A guest's RAM as the host's kernel takes it, for rings and buffers that it reads and writes itself.

use memory::GuestMemory;
use netio::MemoryTable;

/// All RAM, what the guest can plug in as well: its mappings are there from the beginning and stay where they are.
/// Without what firmware lies in, which no driver has its buffers in.
pub(super) fn table(memory: &GuestMemory) -> Option<MemoryTable> {
    let ranges = memory.ranges().into_iter();
    let pieces = ranges.filter_map(|range| {
        let first = memory.host_page(range.base)?;
        Some((range.base.0, range.len, first.host))
    });
    // SAFETY: `GuestMemory` keeps each range mapped, in one piece, as long as any handle to it lives; RAM is the
    // guest's to write at any time, so nobody has references to it.
    unsafe { MemoryTable::new(pieces, memory.clone()) }
}
