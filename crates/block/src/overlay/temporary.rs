//! An overlay that leaves nothing behind: written blocks go to an unlinked sparse file, and which
//! blocks those are is known only in memory. The kernel frees the file when the process ends,
//! however it ends.

use std::collections::BTreeMap;
use std::env::{temp_dir, var_os};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use rustix::fs::{Access, CWD, Mode, OFlags, access, openat, unlink};
use rustix::io::Errno;

use super::copy::create;
use crate::raw::{punch_hole, read_cached, read_or_zeros, zero_range};
use crate::{BlockDevice, BlockError, check_range};

/// What is copied as a whole, bytes: a guest's page and file-system block, so that its writes
/// seldom cover a block in part.
const BLOCK: u64 = 4096;
/// Blocks whose bits are kept together.
const GROUP: u64 = 64 * GROUP_WORDS as u64;
const GROUP_WORDS: usize = 512;
/// Blocks that are copied at a time.
const LONGEST: u64 = 64;

/// Which blocks the overlay holds. Costs memory only where the guest wrote, so that a disk that
/// claims an absurd size costs nothing.
#[derive(Debug, Default)]
struct Written {
    groups: BTreeMap<u64, Box<[u64; GROUP_WORDS]>>,
}

impl Written {
    fn contains(&self, block: u64) -> bool {
        let (word, bit) = place(block);
        self.groups
            .get(&(block / GROUP))
            .is_some_and(|group| group[word] & bit != 0)
    }

    fn insert(&mut self, block: u64) {
        let (word, bit) = place(block);
        let group = self.groups.entry(block / GROUP);
        group.or_insert_with(|| Box::new([0; GROUP_WORDS]))[word] |= bit;
    }
}

fn place(block: u64) -> (usize, u64) {
    let inside = block % GROUP;
    // Below GROUP_WORDS by construction.
    let word = usize::try_from(inside / 64).unwrap_or(0);
    (word, 1 << (inside % 64))
}

impl Written {
    /// First block and number, of at most [`LONGEST`] each.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (number, group) in &self.groups {
            for (word, bits) in (0..).zip(group.iter()) {
                for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
                    let block = number * GROUP + word * 64 + bit;
                    match runs.last_mut() {
                        Some((first, count)) if *first + *count == block && *count < LONGEST => {
                            *count += 1;
                        }
                        _ => runs.push((block, 1)),
                    }
                }
            }
        }
        runs
    }
}

/// A writable disk over a base that is only read.
#[derive(Debug)]
pub struct TemporaryOverlay {
    base: Arc<dyn BlockDevice>,
    file: File,
    /// Reading shares it; a write holds it while it copies the rest of a block from the base.
    written: RwLock<Written>,
}

impl TemporaryOverlay {
    /// # Errors
    /// When no file can be made in `TMPDIR`, or where that is not set in /var/tmp or /tmp.
    pub fn new(base: Arc<dyn BlockDevice>) -> Result<TemporaryOverlay, BlockError> {
        Ok(TemporaryOverlay {
            base,
            file: unlinked_file()?,
            written: RwLock::default(),
        })
    }

    /// The blocks from `first` that are alike (in the overlay, or not), up to `end`.
    fn run(written: &Written, first: u64, end: u64) -> (bool, u64) {
        let own = written.contains(first);
        let alike = (first..end).take_while(|&block| written.contains(block) == own);
        (own, alike.count() as u64)
    }

    /// The pieces of `buf`, read from `offset` on: whether the overlay holds each, and where it is.
    fn each_piece(
        written: &Written,
        buf: &mut [u8],
        offset: u64,
        mut read: impl FnMut(bool, &mut [u8], u64) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let mut at = offset;
        let mut rest = buf;
        let end = offset + rest.len() as u64;
        while !rest.is_empty() {
            let (own, blocks) = Self::run(written, at / BLOCK, end.div_ceil(BLOCK));
            let stop = ((at / BLOCK + blocks) * BLOCK).min(end);
            let (piece, after) = rest.split_at_mut(usize::try_from(stop - at).unwrap_or(0));
            if !read(own, piece, at)? {
                return Ok(false);
            }
            rest = after;
            at = stop;
        }
        Ok(true)
    }

    /// Brings blocks that a write covers only in part into the overlay.
    fn copy_partial(&self, written: &mut Written, offset: u64, end: u64) -> io::Result<()> {
        let mut edges = [None, None];
        if !offset.is_multiple_of(BLOCK) {
            edges[0] = Some(offset / BLOCK);
        }
        if !end.is_multiple_of(BLOCK) {
            edges[1] = Some(end / BLOCK);
        }
        for block in edges.into_iter().flatten() {
            if written.contains(block) {
                continue;
            }
            let start = block * BLOCK;
            let len = BLOCK.min(self.base.len() - start);
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            self.base.read_at(&mut bytes, start)?;
            self.file.write_all_at(&bytes, start)?;
            written.insert(block);
        }
        Ok(())
    }

    /// Changes a range through `change`, then counts all its blocks as the overlay's own.
    fn modify(
        &self,
        offset: u64,
        len: u64,
        change: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        check_range(self.len(), offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let mut written = self.written.write().map_err(|_| poisoned())?;
        let end = offset + len;
        self.copy_partial(&mut written, offset, end)?;
        change(&self.file)?;
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            written.insert(block);
        }
        Ok(())
    }
}

impl BlockDevice for TemporaryOverlay {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len(), offset, buf.len() as u64)?;
        let written = self.written.read().map_err(|_| poisoned())?;
        let read = |own, piece: &mut [u8], at| {
            if own {
                read_or_zeros(&self.file, piece, at)?;
            } else {
                self.base.read_at(piece, at)?;
            }
            Ok(true)
        };
        Self::each_piece(&written, buf, offset, read).map(drop)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        check_range(self.len(), offset, buf.len() as u64)?;
        // A write may be waiting for storage.
        let Ok(written) = self.written.try_read() else {
            return Ok(false);
        };
        let read = |own, piece: &mut [u8], at| {
            if own {
                read_cached(&self.file, piece, at)
            } else {
                self.base.read_now(piece, at)
            }
        };
        Self::each_piece(&written, buf, offset, read)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.modify(offset, buf.len() as u64, |file| {
            file.write_all_at(buf, offset)
        })
    }

    /// Nothing of it survives the process, so there is nothing to make stable.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        // Only whole blocks: copying one in to throw half of it away gains nothing.
        check_range(self.len(), offset, len)?;
        let start = offset.next_multiple_of(BLOCK);
        let end = (offset + len) / BLOCK * BLOCK;
        if start >= end {
            return Ok(());
        }
        // Blocks that only the base holds keep showing the base, which a discard allows.
        let written = self.written.write().map_err(|_| poisoned())?;
        match punch_hole(&self.file, start, end - start) {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => {
                drop(written);
                Ok(())
            }
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, _unmap: bool) -> io::Result<()> {
        // The overlay's file is sparse anyway: never spend storage on zeros.
        self.modify(offset, len, |file| zero_range(file, offset, len, true))
    }

    fn save_overlay(&self, to: &File) -> io::Result<bool> {
        let written = self.written.read().map_err(|_| poisoned())?;
        let copy = create(&self.base, to)?;
        let mut bytes = vec![0; usize::try_from(LONGEST * BLOCK).unwrap_or(0)];
        for (first, count) in written.runs() {
            let offset = first * BLOCK;
            let len = (count * BLOCK).min(self.len() - offset);
            let piece = &mut bytes[..usize::try_from(len).unwrap_or(0)];
            read_or_zeros(&self.file, piece, offset)?;
            if piece.iter().all(|byte| *byte == 0) {
                copy.write_zeroes(offset, len, true)?;
            } else {
                copy.write_at(piece, offset)?;
            }
        }
        copy.close()?;
        Ok(true)
    }

    fn identify(&self) -> String {
        format!("{} (temporary overlay)", self.base.identify())
    }
}

/// An empty file that has no name. On disk rather than in memory (/tmp often is) by preference.
fn unlinked_file() -> Result<File, BlockError> {
    let directory = match var_os("TMPDIR") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ if access("/var/tmp", Access::WRITE_OK).is_ok() => PathBuf::from("/var/tmp"),
        _ => temp_dir(),
    };
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
    let mut opened = openat(CWD, &directory, flags | OFlags::TMPFILE, mode);
    if matches!(opened, Err(Errno::OPNOTSUPP | Errno::ISDIR)) {
        // A file system without O_TMPFILE: the name exists for a moment only.
        let name = directory.join(format!("innkeeper-overlay-{}", std::process::id()));
        opened = openat(CWD, &name, flags | OFlags::CREATE, mode);
        if opened.is_ok() {
            opened = unlink(&name).and(opened);
        }
    }
    opened.map(File::from).map_err(|error| BlockError::Create {
        path: directory,
        source: error.into(),
    })
}

fn poisoned() -> io::Error {
    io::Error::other("an earlier write to the overlay did not end")
}

#[cfg(test)]
mod tests;
