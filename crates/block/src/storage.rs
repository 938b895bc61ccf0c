//! What an image format asks of the file under it: so that tests can put a disk there whose power
//! fails, or whose writes do.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::device::not_stable;
use crate::file::hold;
use crate::raw::{punch_hole, read_cached, read_or_zeros};

/// Bytes that a format is kept in. Offsets and lengths are bytes.
pub(crate) trait Storage: Send + Sync + Debug {
    /// # Errors
    /// When the host cannot tell.
    fn len(&self) -> io::Result<u64>;

    /// What lies past the end reads as zeros.
    ///
    /// # Errors
    /// When the host cannot read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Likewise without waiting; false says that it would take waiting.
    ///
    /// # Errors
    /// When the host cannot read.
    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool>;

    /// # Errors
    /// When the host cannot write: any part of `buf` may have been written then.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// All that was written is on stable storage when this returns.
    ///
    /// # Errors
    /// When it may not be. What was written since the last success may be lost then, and another
    /// call that succeeds says nothing about it.
    fn sync(&self) -> io::Result<()>;

    /// # Errors
    /// When the host cannot change the length.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives storage back; the range reads as zeros afterwards.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::Unsupported`] where the host has no such thing.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;

    /// As [`crate::BlockDevice::hold`].
    ///
    /// # Errors
    /// When another process has it.
    fn hold(&self, held: bool) -> io::Result<()> {
        let _ = held;
        Ok(())
    }
}

impl Storage for File {
    fn len(&self) -> io::Result<u64> {
        use std::io::{Seek, SeekFrom};
        // A block device has no length in its metadata.
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_or_zeros(self, buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        read_cached(self, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data().map_err(not_stable)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        punch_hole(self, offset, len)
    }

    fn hold(&self, held: bool) -> io::Result<()> {
        hold(self, held)
    }
}
