//! Ranges that show other memory than their own: firmware's ROM below 1 MiB, and what a processor sees
//! in the second megabyte while its address line 20 is off.
//!
//! Problem: a chipset's register changes what an address means, for every vCPU and device at once, while
//! engines keep pointers to the host's pages. Choice: the pointers stay and the host's mapping behind them
//! changes, in one system call that nobody sees half done. Rejected: ranges that come and go in each
//! engine (pointers everywhere would have to be found), and copying (writes through one address must show
//! at the other).
//!
//! What a range is made of itself is reached by [`GuestMemory::read_own`] and [`GuestMemory::write_own`],
//! whatever it shows: a saved guest's memory is that.

use std::io;
use std::os::unix::fs::FileExt;

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::{GuestMemory, RamRange, remap_raw};
use crate::{Gpa, Lines, PAGE_SIZE};

/// A piece of one region.
struct Part {
    host: *mut u8,
    /// Where its own memory is in the file behind all regions.
    file: u64,
    len: usize,
}

impl GuestMemory {
    /// From now on `range` shows the memory of as many bytes from `at` on; of its own where that is `at`.
    ///
    /// # Errors
    /// When one of the two is not page-aligned and within one range of the guest's, or the host refuses.
    pub fn show(&self, range: RamRange, at: Gpa) -> io::Result<()> {
        let shown = self.part(RamRange { base: at, ..range })?;
        let part = self.part(range)?;
        remap_raw::remap(part.host, part.len, &self.backing, shown.file)?;
        for page in self.pages_of(range) {
            page.tracker.note_write(page.index, Lines::ALL);
        }
        Ok(())
    }

    /// Reads what the memory at `at` holds itself, whatever it shows.
    ///
    /// # Errors
    /// When it is no memory, or cannot be read.
    pub fn read_own(&self, at: Gpa, into: &mut [u8]) -> io::Result<()> {
        let file = self.place(at, into.len())?;
        self.backing.read_exact_at(into, file)
    }

    /// Writes likewise.
    ///
    /// # Errors
    /// When it is no memory, or cannot be written.
    pub fn write_own(&self, at: Gpa, bytes: &[u8]) -> io::Result<()> {
        let file = self.place(at, bytes.len())?;
        self.backing.write_all_at(bytes, file)?;
        let region = self.ram.find_region(GuestAddress(at.0));
        if let Some(region) = region {
            // It lies in this region, as `place` found.
            let offset = usize::try_from(at.0 - region.start_addr().0).map_err(io::Error::other)?;
            region.bitmap().mark_dirty(offset, bytes.len());
        }
        Ok(())
    }

    /// Where `len` bytes of one region are in the file.
    fn place(&self, at: Gpa, len: usize) -> io::Result<u64> {
        let outside = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let region = self.ram.find_region(GuestAddress(at.0));
        let region = region.ok_or_else(outside)?;
        let offset = at.0 - region.start_addr().0;
        if len as u64 > region.len() - offset {
            return Err(outside());
        }
        let start = region.file_offset().ok_or_else(outside)?.start();
        Ok(start + offset)
    }

    fn part(&self, range: RamRange) -> io::Result<Part> {
        let outside = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        if !(range.base.0 | range.len).is_multiple_of(PAGE_SIZE) {
            return Err(outside());
        }
        let len = usize::try_from(range.len).map_err(io::Error::other)?;
        let file = self.place(range.base, len)?;
        let region = self.ram.find_region(GuestAddress(range.base.0));
        let region = region.ok_or_else(outside)?;
        let offset = MemoryRegionAddress(range.base.0 - region.start_addr().0);
        let host = region.get_host_address(offset).map_err(io::Error::other)?;
        Ok(Part { host, file, len })
    }
}

#[cfg(test)]
mod tests;
