//! Memory that the guest has no use for now: it returns to the host, and reads as zeros afterwards.
//!
//! RAM is a memfd that is mapped shared. MADV_DONTNEED would drop the mapping's view and leave the pages in
//! the file; a hole in the file takes them out of every mapping, KVM's included. Addresses stay mapped,
//! so that pointers which engines keep are good for the zero page that the next touch makes.

use std::io;

use rustix::fs::{FallocateFlags, fallocate, fstat};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::GuestMemory;
use crate::{PAGE_SIZE, RamRange};

/// What [`rustix::fs::Stat::st_blocks`] counts, in bytes.
const BLOCK: u64 = 512;

impl GuestMemory {
    /// Gives the whole pages of `range` back, as far as they are RAM. Answers how many bytes those are.
    /// To whoever watches RAM it is a write of zeros.
    ///
    /// # Errors
    /// When the host refuses: the memory then stays as it is, or a part of it does.
    pub fn discard(&self, range: RamRange) -> io::Result<u64> {
        let end = range.base.0.saturating_add(range.len) & !(PAGE_SIZE - 1);
        let begin = range.base.0.checked_next_multiple_of(PAGE_SIZE);
        let begin = begin.unwrap_or(u64::MAX);
        let mut given = 0;
        for region in self.ram.iter() {
            let first = region.start_addr().0;
            let (from, to) = (begin.max(first), end.min(first + region.len()));
            let Some(file) = region.file_offset().filter(|_| from < to) else {
                continue;
            };
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let inside = from - first;
            fallocate(&self.backing, hole, file.start() + inside, to - from)?;
            // A region is as long as it is in this process.
            let range =
                usize::try_from(inside).and_then(|at| Ok((at, usize::try_from(to - from)?)));
            let (at, len) = range.map_err(io::Error::other)?;
            region.bitmap().mark_dirty(at, len);
            given += to - from;
        }
        Ok(given)
    }

    /// Bytes of RAM that take memory of the host's now, in all processes together.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let blocks = fstat(&self.backing).map_or(0, |stat| stat.st_blocks);
        u64::try_from(blocks).unwrap_or(0) * BLOCK
    }
}

#[cfg(test)]
mod tests;
