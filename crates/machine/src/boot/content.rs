//! Where the bytes of a kernel are. Most are read as a whole; an ELF file, which may have fifty megabytes,
//! goes from the file straight to the guest's memory.

use std::fmt::Debug;
use std::os::unix::fs::FileExt;

use memory::{Gpa, GuestMemory};

use super::bytes::slice_at;
use super::error::Fault;
use super::place::{require_ram, write};
use super::{BootError, ImageError, SourceFile};

const WHAT: &str = "the kernel";

/// The content of a file.
pub(super) trait Content: Debug {
    /// In bytes.
    fn len(&self) -> u64;

    /// `len` bytes at `at`, both of which a parser has checked to be sensible; `what` names the thing
    /// that was wanted where the file ends before.
    fn bytes(&self, at: u64, len: u64, what: &'static str) -> Result<Vec<u8>, Fault>;

    /// Copies as much to `to`, where the guest has memory.
    fn place(&self, at: u64, len: u64, memory: &GuestMemory, to: Gpa) -> Result<(), Fault>;
}

impl Content for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn bytes(&self, at: u64, len: u64, what: &'static str) -> Result<Vec<u8>, Fault> {
        Ok(slice_at(self, at, len, what)?.to_vec())
    }

    fn place(&self, at: u64, len: u64, memory: &GuestMemory, to: Gpa) -> Result<(), Fault> {
        Ok(write(memory, to, slice_at(self, at, len, WHAT)?)?)
    }
}

impl Content for SourceFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn bytes(&self, at: u64, len: u64, what: &'static str) -> Result<Vec<u8>, Fault> {
        inside(self, at, len, what)?;
        // Inside a file, it fits.
        let mut bytes = vec![0; len as usize];
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|source| BootError::Read {
            path: self.path.clone(),
            source,
        })?;
        Ok(bytes)
    }

    fn place(&self, at: u64, len: u64, memory: &GuestMemory, to: Gpa) -> Result<(), Fault> {
        inside(self, at, len, WHAT)?;
        require_ram(memory, to, len)?;
        let failed = |source| BootError::Read {
            path: self.path.clone(),
            source,
        };
        memory.copy_from(&self.file, at, len, to).map_err(failed)?;
        Ok(())
    }
}

/// Refuses what goes beyond the end of the file.
pub(super) fn inside(
    content: &(impl Content + ?Sized),
    at: u64,
    len: u64,
    what: &'static str,
) -> Result<(), ImageError> {
    let (needed, found) = (at.saturating_add(len), content.len());
    if at.checked_add(len).is_some_and(|end| end <= found) {
        Ok(())
    } else {
        Err(ImageError::Truncated {
            what,
            needed,
            found,
        })
    }
}
