//! Memory that may be seen at several addresses: ROM, and RAM below 2 MiB in a machine with firmware.
//!
//! It is one memfd, mapped shared; all other RAM is private memory of the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use super::mapping_raw::Stretch;
use super::{GuestMemory, MemoryError, RamRange};
use crate::{Gpa, PageTracker};

/// Firmware's ROM is shown below the first megabyte, and that in the second one.
const SHARED_BELOW: u64 = 2 << 20;

#[derive(Debug)]
pub(super) struct Shared {
    file: File,
    /// Ascending, each within one region, and where it is in the file.
    pieces: Vec<(RamRange, u64)>,
}

impl Shared {
    /// Where in the file the memory at `at` lies, and how many bytes there are in one piece.
    fn find(&self, at: Gpa) -> Option<(u64, u64)> {
        self.pieces.iter().find_map(|(range, start)| {
            let inside = at.0.checked_sub(range.base.0)?;
            let left = range.len.checked_sub(inside).filter(|left| *left > 0)?;
            Some((start + inside, left))
        })
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = RamRange> {
        self.pieces.iter().map(|(range, _)| *range)
    }
}

impl GuestMemory {
    /// Makes the memory below 2 MiB, and ROM, what may be shown elsewhere. Before anybody has touched it.
    pub(super) fn share(&mut self, rom: RamRange) -> Result<(), MemoryError> {
        let mut pieces = Vec::new();
        let mut len = 0;
        for range in self.mapped_ranges() {
            let part = if range == rom {
                range.len
            } else {
                range.len.min(SHARED_BELOW.saturating_sub(range.base.0))
            };
            if part > 0 {
                pieces.push((RamRange { len: part, ..range }, len));
                len += part;
            }
        }
        let failed = |source| MemoryError::Reserve { len, source };
        let file = memfd_create("guest-low-ram", MemfdFlags::CLOEXEC);
        let file = File::from(file.map_err(|error| failed(error.into()))?);
        ftruncate(&file, len).map_err(|error| failed(error.into()))?;
        for (range, at) in &pieces {
            let mapped = self
                .stretch(*range)
                .and_then(|it| it.map_shared(&file, *at));
            mapped.map_err(failed)?;
        }
        self.shared = Some(std::sync::Arc::new(Shared { file, pieces }));
        Ok(())
    }

    /// Where `len` bytes at `at` are in the file of shared memory; `None` where they are not.
    pub(super) fn place_shared(&self, at: Gpa, len: u64) -> Option<(&File, u64)> {
        let shared = self.shared.as_deref()?;
        let (start, left) = shared.find(at)?;
        (len <= left).then_some((&shared.file, start))
    }

    /// What of `len` bytes at `at` begins there in one piece, and whether that is shared.
    pub(super) fn piece(&self, at: Gpa, len: u64) -> (u64, bool) {
        let Some(shared) = self.shared.as_deref() else {
            return (len, false);
        };
        if let Some((_, left)) = shared.find(at) {
            return (len.min(left), true);
        }
        let ahead = shared.pieces().map(|range| range.base.0);
        let next = ahead.filter(|base| *base > at.0).min();
        (next.map_or(len, |next| len.min(next - at.0)), false)
    }

    /// Gives pages of shared memory back: a hole in the file takes them out of every mapping.
    pub(super) fn discard_shared(&self, at: Gpa, len: u64) -> io::Result<()> {
        let outside = io::ErrorKind::AddrNotAvailable;
        let (file, place) = self.place_shared(at, len).ok_or(outside)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(file, hole, place, len)?)
    }

    /// Copies of all that is shared, in the order of addresses, as it is itself.
    pub(super) fn shared_content(&self) -> io::Result<Vec<(RamRange, Vec<u8>)>> {
        let Some(shared) = self.shared.as_deref() else {
            return Ok(Vec::new());
        };
        let copies = shared.pieces.iter().map(|(range, at)| {
            let mut bytes = vec![0; usize::try_from(range.len).map_err(io::Error::other)?];
            shared.file.read_exact_at(&mut bytes, *at)?;
            Ok((*range, bytes))
        });
        copies.collect()
    }

    /// Memory that may be seen, and written, at other addresses as well: the dirty log has it where it was
    /// written.
    #[must_use]
    pub fn shared_ranges(&self) -> Vec<RamRange> {
        let shared = self.shared.as_deref();
        shared.map_or_else(Vec::new, |shared| shared.pieces().collect())
    }

    /// The mapping of a range that is within one region.
    pub(super) fn stretch(&self, range: RamRange) -> io::Result<Stretch> {
        let outside = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let region: &GuestRegionMmap<PageTracker> = self
            .ram
            .find_region(GuestAddress(range.base.0))
            .ok_or_else(outside)?;
        let inside = range.base.0 - region.start_addr().0;
        Stretch::of(region, inside, range.len).ok_or_else(outside)
    }
}
