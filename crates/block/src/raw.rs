//! A raw image: the disk's bytes are the file's bytes. Also the host's own block devices.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::device::{Extent, not_stable, refuse_write, round_to_sectors};
use crate::file::{ImageFile, hold, open_image};
use crate::open::{START, is_image_magic};
use crate::{BlockDevice, BlockError, check_range};

/// Zeros are written in pieces of this size where the host cannot punch holes, bytes.
const ZERO_PIECE: usize = 1 << 16;

#[derive(Debug)]
pub struct RawDisk {
    image: ImageFile,
    len: u64,
    read_only: bool,
    /// Nobody said that this is raw; it only carries no other format's magic. A guest that writes
    /// one would have its next start read host files as backing files, so that write is refused.
    guarded: bool,
}

impl RawDisk {
    /// # Errors
    /// When the file cannot be opened, is no disk, or is in use by another writer.
    pub fn open(path: &Path, read_only: bool) -> Result<RawDisk, BlockError> {
        Ok(RawDisk::from_image(
            open_image(path, !read_only)?,
            read_only,
            false,
        ))
    }

    pub(crate) fn from_image(image: ImageFile, read_only: bool, guarded: bool) -> RawDisk {
        let len = round_to_sectors(image.len);
        RawDisk {
            image,
            len,
            read_only,
            guarded,
        }
    }

    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.read_only {
            return Err(refuse_write());
        }
        check_range(self.len, offset, len)
    }
}

impl BlockDevice for RawDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn hold(&self, held: bool) -> io::Result<()> {
        match self.read_only {
            true => Ok(()),
            false => hold(&self.image.file, held),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len, offset, buf.len() as u64)?;
        read_or_zeros(&self.image.file, buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        check_range(self.len, offset, buf.len() as u64)?;
        read_cached(&self.image.file, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        if self.guarded && offset < START as u64 {
            let mut start = [0; START];
            read_or_zeros(&self.image.file, &mut start, 0)?;
            let skip = usize::try_from(offset).unwrap_or(0);
            for (old, new) in start[skip..].iter_mut().zip(buf) {
                *old = *new;
            }
            if is_image_magic(&start) {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "writing an image format's magic to a disk whose format was guessed",
                ));
            }
        }
        self.image.file.write_all_at(buf, offset)
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.image.file.sync_data().map_err(not_stable)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        match punch_hole(&self.image.file, offset, len) {
            // Discarding is a hint, and some file systems cannot.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done,
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.check_write(offset, len)?;
        zero_range(&self.image.file, offset, len, unmap)
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        check_range(self.len, offset, len)?;
        Ok(extent_of(&self.image, offset, len))
    }

    fn identify(&self) -> String {
        self.image.path.display().to_string()
    }
}

/// Reads `buf`; what lies past the end of the file is zeros.
pub(crate) fn read_or_zeros(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => {
                buf[done..].fill(0);
                return Ok(());
            }
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Likewise, but false as soon as something would have to come from storage.
pub(crate) fn read_cached(file: &File, buf: &mut [u8], offset: u64) -> io::Result<bool> {
    let mut done = 0;
    while done < buf.len() {
        let mut rest = [IoSliceMut::new(&mut buf[done..])];
        let flags = ReadWriteFlags::NOWAIT;
        match preadv2(file, &mut rest, offset + done as u64, flags) {
            Ok(0) => {
                buf[done..].fill(0);
                return Ok(true);
            }
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            // Not there yet, or a file system (or a kernel before 4.14) that cannot say.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Gives the range's storage back; it reads as zeros. The file keeps its length.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, offset, len).map_err(unsupported_is_one_kind)
}

/// Zeroes the range in the cheapest way that the host knows.
pub(crate) fn zero_range(file: &File, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    if unmap && punch_hole(file, offset, len).is_ok() {
        return Ok(());
    }
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    if fallocate(file, flags, offset, len).is_ok() {
        return Ok(());
    }
    let zeros = [0; ZERO_PIECE];
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(ZERO_PIECE as u64);
        file.write_all_at(
            &zeros[..usize::try_from(piece).unwrap_or(ZERO_PIECE)],
            offset + done,
        )?;
        done += piece;
    }
    Ok(())
}

/// Data or a hole of the file, and how far. Where the host does not know, all is data.
fn extent_of(image: &ImageFile, offset: u64, len: u64) -> (Extent, u64) {
    if offset >= image.len {
        return (Extent::Hole, len);
    }
    match seek(&image.file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => return (Extent::Hole, len.min(data - offset)),
        // Nothing but a hole until the end.
        Err(Errno::NXIO) => return (Extent::Hole, len),
        Err(_) => return (Extent::Data, len),
        Ok(_) => {}
    }
    match seek(&image.file, SeekFrom::Hole(offset)) {
        Ok(hole) if hole > offset => (Extent::Data, len.min(hole - offset)),
        _ => (Extent::Data, len),
    }
}

fn unsupported_is_one_kind(error: Errno) -> io::Error {
    // A block device that cannot discard answers EINVAL or ENODEV, a file system EOPNOTSUPP.
    if matches!(
        error,
        Errno::OPNOTSUPP | Errno::NODEV | Errno::NOSYS | Errno::INVAL
    ) {
        io::ErrorKind::Unsupported.into()
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests;
