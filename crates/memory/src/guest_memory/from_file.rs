//! Files that become guest memory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use vm_memory::{Bytes, GuestAddress};

use super::GuestMemory;
use crate::Gpa;

impl GuestMemory {
    /// Copies `len` bytes at `at` of `file` to `to`, all of which must be RAM. Only while no vCPU runs.
    ///
    /// # Errors
    /// When there is no RAM, the file ends before, or cannot be read.
    pub fn copy_from(&self, file: &File, at: u64, len: u64, to: Gpa) -> io::Result<()> {
        let mut file = file;
        file.seek(SeekFrom::Start(at))?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let read = self
            .ram
            .read_exact_volatile_from(GuestAddress(to.0), &mut file, len);
        read.map_err(io::Error::other)
    }
}
