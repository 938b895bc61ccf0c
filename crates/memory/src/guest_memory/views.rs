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
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{GuestMemory, RamRange};
use crate::{Gpa, Lines};

impl GuestMemory {
    /// From now on `range` shows the memory of as many bytes from `at` on; of its own where that is `at`.
    ///
    /// # Errors
    /// When one of the two is not page-aligned and within one range of the guest's shared memory, or the
    /// host refuses.
    pub fn show(&self, range: RamRange, at: Gpa) -> io::Result<()> {
        let outside = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let shown = self.place_shared(at, range.len).ok_or_else(outside)?;
        self.place_shared(range.base, range.len)
            .ok_or_else(outside)?;
        self.stretch(range)?.map_shared(shown.0, shown.1)?;
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
        if let Some((file, place)) = self.place_shared(at, into.len() as u64) {
            return file.read_exact_at(into, place);
        }
        let read = self.ram.read_slice(into, GuestAddress(at.0));
        read.map_err(io::Error::other)
    }

    /// Writes likewise.
    ///
    /// # Errors
    /// When it is no memory, or cannot be written.
    pub fn write_own(&self, at: Gpa, bytes: &[u8]) -> io::Result<()> {
        let Some((file, place)) = self.place_shared(at, bytes.len() as u64) else {
            let written = self.ram.write_slice(bytes, GuestAddress(at.0));
            return written.map_err(io::Error::other);
        };
        file.write_all_at(bytes, place)?;
        if let Some(region) = self.ram.find_region(GuestAddress(at.0)) {
            // A piece of shared memory lies in one region.
            let offset = usize::try_from(at.0 - region.start_addr().0).map_err(io::Error::other)?;
            region.bitmap().mark_dirty(offset, bytes.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
