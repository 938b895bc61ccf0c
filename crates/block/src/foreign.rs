//! Formats of other hypervisors, which guests only read. Each says where runs of its disk's bytes are;
//! what reading has in common is here.

mod crc32c;
mod vdi;
mod vhd;
mod vhdx;
pub(crate) mod vmdk;

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::device::{Extent, refuse_write, round_to_sectors};
use crate::file::ImageFile;
use crate::open::Chain;
use crate::storage::Storage;
use crate::{BlockDevice, BlockError, Format, check_range};

/// What a table of a format may take in memory, bytes: that of a disk of 16 TiB in blocks of 1 MiB.
const MAX_TABLE: u64 = 64 << 20;

/// Where a run of a disk's bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Zeros,
    /// From this offset of the file on.
    At(u64),
}

/// Where an image's bytes are.
pub(crate) trait Map: Send + Sync + Debug {
    /// Where the bytes from `offset` on are, and how many of them are together; at least one.
    fn find(&self, offset: u64) -> io::Result<(Run, u64)>;
}

/// An image in one file, by its map.
#[derive(Debug)]
pub(crate) struct MappedDisk<M> {
    storage: Arc<dyn Storage>,
    map: M,
    /// Bytes.
    len: u64,
    path: PathBuf,
}

impl<M: Map> MappedDisk<M> {
    fn find(&self, offset: u64, len: u64) -> io::Result<(Run, u64)> {
        let (run, there) = self.map.find(offset)?;
        Ok((run, there.clamp(1, len)))
    }
}

impl<M: Map> BlockDevice for MappedDisk<M> {
    fn len(&self) -> u64 {
        round_to_sectors(self.len)
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len(), offset, buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            let rest = &mut buf[done..];
            let (run, len) = self.find(offset + done as u64, rest.len() as u64)?;
            let len = usize::try_from(len).unwrap_or(rest.len());
            match run {
                Run::Zeros => rest[..len].fill(0),
                Run::At(at) => self.storage.read_at(&mut rest[..len], at)?,
            }
            done += len;
        }
        Ok(())
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(refuse_write())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(refuse_write())
    }

    fn write_zeroes(&self, _offset: u64, _len: u64, _unmap: bool) -> io::Result<()> {
        Err(refuse_write())
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        check_range(self.len(), offset, len)?;
        if len == 0 {
            return Ok((Extent::Data, 0));
        }
        let (run, len) = self.find(offset, len)?;
        Ok(match run {
            Run::Zeros => (Extent::Hole, len),
            Run::At(_) => (Extent::Data, len),
        })
    }

    fn identify(&self) -> String {
        self.path.display().to_string()
    }
}

/// Opens an image of one of these formats.
pub(crate) fn open_foreign(
    image: ImageFile,
    format: Format,
    chain: &mut Chain,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    chain.enter(&image)?;
    let path = image.path;
    let storage: Arc<dyn Storage> = Arc::new(image.file);
    if format == Format::Vmdk {
        return vmdk::open(storage, path, chain);
    }
    read_foreign(storage, path, format)
}

fn read_foreign(
    storage: Arc<dyn Storage>,
    path: PathBuf,
    format: Format,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    let damaged = |what: String| BlockError::Damaged {
        path: path.clone(),
        format: format.name(),
        what,
    };
    Ok(match format {
        Format::Vdi => {
            let (map, len) = vdi::read(&*storage).map_err(damaged)?;
            Arc::new(MappedDisk {
                storage,
                map,
                len,
                path,
            })
        }
        Format::Vhd => {
            let (map, len) = vhd::read(&*storage).map_err(damaged)?;
            Arc::new(MappedDisk {
                storage,
                map,
                len,
                path,
            })
        }
        _ => {
            let (map, len) = vhdx::read(&*storage).map_err(damaged)?;
            Arc::new(MappedDisk {
                storage,
                map,
                len,
                path,
            })
        }
    })
}

/// Reads `len` bytes; what is missing of them is zeros. No more than [`MAX_TABLE`].
fn read_bytes(storage: &dyn Storage, offset: u64, len: u64) -> Result<Vec<u8>, String> {
    if len > MAX_TABLE {
        return Err(format!("it asks for a table of {len} bytes"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = storage.read_at(&mut bytes, offset);
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Is this range in the file?
fn check_inside(what: &str, offset: u64, len: u64, file_len: u64) -> Result<(), String> {
    match offset.checked_add(len) {
        Some(end) if end <= file_len => Ok(()),
        _ => Err(format!("its {what} lies outside the file")),
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    found.map_or(0, u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    le32(bytes, at).swap_bytes()
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    le64(bytes, at).swap_bytes()
}

/// Opens `bytes` as an image of a format that is only read, and reads here and there, for fuzzing.
/// What the image names as other files is not opened.
///
/// # Errors
/// When the image is refused. Errors of single reads are none: the guest sees them.
pub fn check_foreign(bytes: &[u8], format: Format) -> Result<(), BlockError> {
    let path = PathBuf::from("(bytes)/image");
    let failed = |source: io::Error| BlockError::Open {
        path: path.clone(),
        source,
    };
    let memfd = memfd_create("image", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let file = File::from(memfd);
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).map_err(failed)?;
    let image = ImageFile {
        file,
        path: path.clone(),
        len: bytes.len() as u64,
    };
    let chain = &mut Chain::new(crate::Trust::Beside);
    let disk = open_foreign(image, format, chain)?;
    let mut piece = [0; 4096];
    for part in [0, 1, 7, 33, 64] {
        let offset = disk.len() / 65 * part / 512 * 512;
        let _ = disk.read_at(&mut piece, offset);
        let _ = disk.extent(offset, 512.min(disk.len()));
    }
    Ok(())
}

/// The name of a file that an image consists of, as the image has it.
fn part_of(chain: &Chain, image: &Path, name: &str) -> Result<PathBuf, BlockError> {
    chain.locate(image, name)
}

#[cfg(test)]
mod tests;
