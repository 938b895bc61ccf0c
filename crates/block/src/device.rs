//! What a disk is to whoever reads and writes it.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::Range;

use crate::Checkpoint;

/// The unit in which capacity is counted, bytes. Reads and writes need not be aligned to it.
pub const SECTOR_SIZE: u64 = 512;

/// What is known of a range without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Anything.
    Data,
    /// Zeros, as somebody wrote them.
    Zero,
    /// Zeros, since nobody wrote anything.
    Hole,
}

/// A disk. Several threads may use it at once; overlapping writes land in any order.
///
/// Offsets and lengths are bytes. A range outside `0..len()` is an error of kind
/// [`io::ErrorKind::InvalidInput`] and changes nothing.
pub trait BlockDevice: Send + Sync + Debug {
    /// Capacity in bytes, a multiple of [`SECTOR_SIZE`]. An image whose file is not is read as if
    /// followed by zeros.
    fn len(&self) -> u64;

    /// A disk without a single sector.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes, discards and zeroing fail with [`io::ErrorKind::PermissionDenied`].
    fn read_only(&self) -> bool;

    /// # Errors
    /// When the range is outside the disk or the host cannot read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Reads what can be read without waiting for storage, which is all of `buf` or nothing: false
    /// says that only [`BlockDevice::read_at`] can do it, and `buf` then holds anything. For threads
    /// that must not wait.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let _ = (buf, offset);
        Ok(false)
    }

    /// # Errors
    /// When the range is outside the disk, the disk is read-only or the host cannot write.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Everything written before is on stable storage when this returns.
    ///
    /// # Errors
    /// When the host cannot tell that it is.
    fn flush(&self) -> io::Result<()>;

    /// The content of the range does not matter any more; it may read as anything it held, or zeros.
    ///
    /// # Errors
    /// As [`BlockDevice::write_at`].
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// The range reads as zeros afterwards. With `unmap` its storage may be given back.
    ///
    /// # Errors
    /// As [`BlockDevice::write_at`].
    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()>;

    /// What is known of the bytes from `offset` on, and of how many of up to `len` that holds.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        check_range(self.len(), offset, len)?;
        Ok((Extent::Data, len))
    }

    /// Of an overlay that leaves nothing behind: writes what it holds to the empty file `to`, as a qcow2 that can
    /// lie over the same base. False for any other disk.
    ///
    /// # Errors
    /// When the host cannot read or write.
    fn save_overlay(&self, to: &File) -> io::Result<bool> {
        let _ = to;
        Ok(false)
    }

    /// From now on the image knows under `checkpoint.name` what changes. Answers which bytes of its file are what they
    /// were at `checkpoint.since`, ascending; none of them where nobody knows. `None`: it keeps no such books.
    ///
    /// # Errors
    /// When the host cannot read or write.
    fn checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<Option<Vec<Range<u64>>>> {
        let _ = checkpoint;
        Ok(None)
    }

    /// Lets another process have the image, of which this one then makes no use; or takes it back. What was
    /// flushed, the other finds.
    ///
    /// # Errors
    /// When another process has it.
    fn hold(&self, held: bool) -> io::Result<()> {
        let _ = held;
        Ok(())
    }

    /// The image's name for messages and logs: its path, with what lies over it.
    fn identify(&self) -> String;
}

/// Is `offset..offset + len` inside a disk of `capacity` bytes?
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is not.
pub fn check_range(capacity: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= capacity => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{len} bytes at {offset} lie outside a disk of {capacity} bytes"),
        )),
    }
}

/// The error of a write to a read-only disk.
pub(crate) fn refuse_write() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the disk is read-only")
}

/// Did a write fail since the host's disk is full, or what its user may have of it? Then it may be tried again later.
#[must_use]
pub fn lacks_room(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The error of a failed sync: what was to be written is lost, so nobody may take it for one of [`lacks_room`].
pub(crate) fn not_stable(error: io::Error) -> io::Error {
    match lacks_room(error.kind()) {
        true => io::Error::other(error),
        false => error,
    }
}

/// Rounds a file's length up to whole sectors.
pub(crate) fn round_to_sectors(len: u64) -> u64 {
    len.checked_next_multiple_of(SECTOR_SIZE)
        .unwrap_or(u64::MAX - (SECTOR_SIZE - 1))
}
