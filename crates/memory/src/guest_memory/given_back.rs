//! Memory that the guest has no use for now: it returns to the host, and reads as zeros afterwards.
//!
//! Addresses stay mapped, so that pointers which engines keep are good for the zero page that the next touch
//! makes. Where RAM began as what a file holds, the file would be seen again; zeros are mapped in its place, or
//! written where the host would be asked for more mappings than it has.

use std::io;
use std::sync::atomic::Ordering;

use vm_memory::bitmap::Bitmap;
use vm_memory::{
    Bytes, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};

use super::GuestMemory;
use super::layers::MOST_PIECES;
use super::mapping_raw::Stretch;
use crate::{Gpa, PAGE_SHIFT, PAGE_SIZE, PageTracker, RamRange};

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
            let mut at = from;
            while at < to {
                let (len, is_shared) = self.piece(Gpa(at), to - at);
                self.miss_no_more(Gpa(at), len);
                self.discard_piece(region, at, len, is_shared)?;
                given += len;
                at += len;
            }
        }
        Ok(given)
    }

    fn discard_piece(
        &self,
        region: &GuestRegionMmap<PageTracker>,
        at: u64,
        len: u64,
        is_shared: bool,
    ) -> io::Result<()> {
        let offset = at - region.start_addr().0;
        let stretch = Stretch::of(region, offset, len).ok_or(io::ErrorKind::InvalidInput)?;
        let pieces = self.pieces.load(Ordering::Relaxed);
        if is_shared {
            self.discard_shared(Gpa(at), len)?;
        } else if pieces == 0 {
            self.note_gap(stretch);
            stretch.give_back()?;
        } else if pieces < MOST_PIECES {
            self.pieces.fetch_add(1, Ordering::Relaxed);
            stretch.map_zeros()?;
            self.as_the_rest(stretch);
        } else {
            write_zeros(region, offset, len)?;
        }
        // A region is as long as it is in this process.
        let range = usize::try_from(offset).and_then(|at| Ok((at, usize::try_from(len)?)));
        let (at, len) = range.map_err(io::Error::other)?;
        region.bitmap().mark_dirty(at, len);
        Ok(())
    }

    /// Bytes of RAM that the host has in memory now, also those of files that others have as well.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let whole = |region: &GuestRegionMmap<PageTracker>| Stretch::of(region, 0, region.len());
        let stretches = self.ram.iter().filter_map(whole);
        stretches.map(Stretch::resident).sum()
    }
}

fn write_zeros(region: &GuestRegionMmap<PageTracker>, offset: u64, len: u64) -> io::Result<()> {
    const ZEROS: [u8; 1 << PAGE_SHIFT] = [0; 1 << PAGE_SHIFT];
    for at in (offset..offset + len).step_by(ZEROS.len()) {
        let written = region.write_slice(&ZEROS, MemoryRegionAddress(at));
        written.map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
