//! RAM as it is at one moment, written to a file while the guest goes on.
//!
//! A fork of this process has RAM as it was: the host's kernel copies the pages that the guest writes from then
//! on. The fork writes what is not zero, or what is other than in the layers of an earlier record, and ends. The
//! guest stands still for the fork alone, some milliseconds for each GiB that it has touched, and nobody
//! needs to log its writes.
//!
//! Rejected: userfaultfd's write protection, which unprivileged processes get for faults of their own code only,
//! so not for KVM's and for system calls; write protection by the engines, which is three implementations.
//!
//! **The index** says which pages the file is for: the word `INNKPAGE`, a version (`u32`), 0 (`u32`), the number
//! of RAM's pages and that of runs (`u64`), and the runs: first page and number of pages (`u64`), the highest bit
//! of which says that they are zero. Where bits 61:56 of a number are not 0, all pages are the same, and the file has
//! the first 2 to the power of these. Integers are little-endian. The number of runs is written last.
//!
//! **Pages that are all the same** one behind the other, as what a kernel has given up and filled with a pattern, are
//! in the file some times; these are mapped again and again, in [`MOST_TILES`] pieces at most. Rejected: finding any page that is there
//! twice. Each would be a mapping of its own, of which a process may have 65530 and each of which takes time, or
//! would be copied, which is memory that forks do not share. Of a booted Debian, a quarter of its pages are in such
//! rows and a twentieth are duplicates elsewhere.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::layers::SHORTEST_PERIOD;
use super::record_raw::{Child, fork};
use super::{GuestMemory, LayerError, Run};
use crate::{Gpa, Layer, RamRange};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

const MAGIC: &[u8; 8] = b"INNKPAGE";
/// Of an index with repeated pages; of one whose repeated pages are as many as [`OLD_TILE`] each, or said as now: those are
/// read alone; and of one without.
const VERSION: u32 = 3;
const OLD: u32 = 2;
const PLAIN: u32 = 1;
pub(super) const HEADER: usize = 32;
pub(super) const ENTRY: usize = 16;
pub(super) const ZERO: u64 = 1 << 63;
/// Where a number of pages has the logarithm of how many of them the file has, if not all.
const TILE_SHIFT: u32 = 56;
pub(super) const TILES: u64 = 0x3f << TILE_SHIFT;
/// How version 2 first said that a run is repeated, and how many pages its file has of it. Later it said that as version 3
/// does, until somebody noticed; no number of pages has the bits of either.
const OLD_REPEATED: u64 = 1 << 62;
const OLD_TILE: u64 = 16;
/// In so many pieces pages that are repeated are mapped at most: each takes time, and a process has only so many.
const MOST_TILES: u64 = 256;
/// What a record has at most.
pub(super) const MOST_RUNS: usize = 1 << 22;

/// A record that is being written.
#[derive(Debug)]
pub struct Recording {
    child: Child,
    end: OwnedFd,
}

impl Recording {
    /// Waits until the record is written. [`Recording::as_fd`] is readable when that takes no time.
    ///
    /// # Errors
    /// When it could not be written, or whoever wrote it was killed.
    pub fn finish(self) -> io::Result<()> {
        let mut told = [0; 4];
        let read = rustix::io::read(&self.end, &mut told)?;
        self.child.reap();
        match (read, i32::from_le_bytes(told)) {
            (4, 0) => Ok(()),
            (4, errno) => Err(Errno::from_raw_os_error(errno).into()),
            _ => Err(io::Error::other("the process that wrote it was killed")),
        }
    }
}

impl AsFd for Recording {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl GuestMemory {
    /// Begins to write RAM, as it is now, to `pages`, and to `index` which of it that is: all that is not zero;
    /// where there are `layers`, all that is other than in them. Both files are empty before. Nobody may
    /// write to RAM until this returns.
    ///
    /// # Errors
    /// When the layers do not fit or the host has no room for another process.
    pub fn record(
        &self,
        layers: &[Layer],
        pages: &File,
        index: &File,
    ) -> Result<Recording, LayerError> {
        let before = match layers {
            [] => None,
            _ => {
                let before = GuestMemory::new(&self.mapped_ranges());
                let before = before.map_err(|error| LayerError::Map(io::Error::other(error)))?;
                before.map_layers(layers)?;
                Some(before)
            }
        };
        let (end, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| LayerError::Map(e.into()))?;
        // A fork would share it.
        let copies = self.shared_content().map_err(LayerError::Map)?;
        let mut now = Vec::new();
        let mut old = before.as_ref().map(|_| Vec::new());
        for range in self.pieces_of_all() {
            let copy = copies.iter().find(|(copied, _)| *copied == range);
            now.push(match copy {
                Some((_, bytes)) => (bytes.as_ptr(), bytes.len()),
                None => self.stretch(range).map_err(LayerError::Map)?.bytes(),
            });
            if let (Some(old), Some(before)) = (&mut old, &before) {
                old.push(before.stretch(range).map_err(LayerError::Map)?.bytes());
            }
        }
        let child = fork(&now, old.as_deref(), pages, index, &theirs);
        let child = child.map_err(LayerError::Map)?;
        Ok(Recording { child, end })
    }

    /// All memory, in pieces that are shared or are not.
    fn pieces_of_all(&self) -> Vec<RamRange> {
        let mut pieces = Vec::new();
        for range in self.mapped_ranges() {
            let mut inside = 0;
            while inside < range.len {
                let base = Gpa(range.base.0 + inside);
                let (len, _) = self.piece(base, range.len - inside);
                pieces.push(RamRange { base, len });
                inside += len;
            }
        }
        pieces
    }
}

/// How many of so many pages that are all the same the file has, and the bits that say so in their number.
pub(super) fn tile_of(count: u64) -> (u64, u64) {
    let tile = count.div_ceil(MOST_TILES).max(SHORTEST_PERIOD);
    let bits = tile.next_power_of_two().trailing_zeros();
    (1 << bits, u64::from(bits) << TILE_SHIFT)
}

/// The first bytes of an index of so many runs, some of which are `repeated`.
pub(super) fn header(pages: u64, runs: u64, repeated: bool) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    let version = if repeated { VERSION } else { PLAIN };
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[16..24].copy_from_slice(&pages.to_le_bytes());
    header[24..].copy_from_slice(&runs.to_le_bytes());
    header
}

/// The bytes of an index of these runs, which the file has at their own places, of so many pages of RAM.
#[must_use]
pub fn index_of(pages: u64, runs: &[Run]) -> Vec<u8> {
    let mut bytes = header(pages, runs.len() as u64, false).to_vec();
    for run in runs {
        bytes.extend(run.first.to_le_bytes());
        bytes.extend((run.count | if run.zero { ZERO } else { 0 }).to_le_bytes());
    }
    bytes
}

/// An index that cannot be used, in words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the index of its memory {0}")]
pub struct DamagedIndex(&'static str);

/// What an index says: the runs. They may be any; [`GuestMemory::map_layers`] looks at them.
///
/// # Errors
/// When the bytes are no index, or not all of one.
pub fn read_index(bytes: &[u8]) -> Result<Vec<Run>, DamagedIndex> {
    let (head, entries) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or(DamagedIndex("is too short"))?;
    if head[..8] != *MAGIC {
        return Err(DamagedIndex("is none"));
    }
    let version = word(head, 8) & u64::from(u32::MAX);
    if ![VERSION, OLD, PLAIN].map(u64::from).contains(&version) {
        return Err(DamagedIndex("is of another version"));
    }
    let count = word(head, 24);
    if count > MOST_RUNS as u64 || entries.len() as u64 != count * ENTRY as u64 {
        return Err(DamagedIndex("is not as long as it says"));
    }
    let mut runs = Vec::new();
    for entry in entries.chunks_exact(ENTRY) {
        let (first, count) = (word(entry, 0), word(entry, 8));
        let zero = count & ZERO != 0;
        let (tile, marks) = if version != u64::from(PLAIN) && count & TILES != 0 {
            (Some(1 << ((count & TILES) >> TILE_SHIFT)), ZERO | TILES)
        } else if version == u64::from(OLD) && count & OLD_REPEATED != 0 {
            (Some(OLD_TILE), ZERO | OLD_REPEATED)
        } else {
            (None, ZERO)
        };
        let count = count & !marks;
        runs.push(Run {
            zero,
            period: tile.unwrap_or(count),
            ..Run::in_place(first, count)
        });
    }
    Ok(runs)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests;
