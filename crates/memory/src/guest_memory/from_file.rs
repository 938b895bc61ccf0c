//! Files that become guest memory.
//!
//! The host's kernel copies from one file to the other: what goes through the guest's mapping costs a page
//! fault for each page, and a page that the guest never looks at need not be mapped at all.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use rustix::fs::sendfile;
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::GuestMemory;
use crate::Gpa;

/// So much at once, or a large file could not be interrupted.
const CHUNK: u64 = 16 << 20;

impl GuestMemory {
    /// Copies `len` bytes at `at` of `file` to `to`, all of which must be RAM. Only while no vCPU runs.
    ///
    /// # Errors
    /// When there is no RAM, the file ends before, or cannot be read.
    pub fn copy_from(&self, file: &File, at: u64, len: u64, to: Gpa) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            done += self.copy_some(file, at + done, len - done, Gpa(to.0 + done))?;
        }
        Ok(())
    }

    /// Copies what goes into one region, or less. Answers how much that was.
    fn copy_some(&self, file: &File, at: u64, len: u64, to: Gpa) -> io::Result<u64> {
        let outside = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let region = self.ram.find_region(GuestAddress(to.0));
        let region = region.ok_or_else(outside)?;
        let inside = to.0 - region.start_addr().0;
        let most = len.min(region.len() - inside).min(CHUNK);
        let start = region.file_offset().ok_or_else(outside)?.start() + inside;
        let copied = self.send(file, at, start, most)?;
        if copied == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A region is as long as it is in this process.
        let range = usize::try_from(inside).and_then(|from| Ok((from, usize::try_from(copied)?)));
        let (from, count) = range.map_err(io::Error::other)?;
        region.bitmap().mark_dirty(from, count);
        Ok(copied)
    }

    fn send(&self, file: &File, mut at: u64, to: u64, most: u64) -> io::Result<u64> {
        let mut backing: &File = Arc::as_ref(&self.backing);
        backing.seek(SeekFrom::Start(to))?;
        let count = usize::try_from(most).unwrap_or(usize::MAX);
        match sendfile(&self.backing, file, Some(&mut at), count) {
            Ok(copied) => Ok(copied as u64),
            // Not every file system knows how.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                let mut file = file;
                file.seek(SeekFrom::Start(at))?;
                io::copy(&mut file.take(most), &mut backing)
            }
            Err(error) => Err(error.into()),
        }
    }
}
