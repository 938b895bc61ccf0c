//! vmdk, the format of VMware: a descriptor that names extents, each of them flat, sparse or zeros;
//! or one sparse extent that carries its descriptor.
//! Spec: VMware, "Virtual Disk Format 5.0".

mod descriptor;
mod sparse;
mod write;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::part_of;
use crate::device::{Extent, refuse_write};
use crate::open::Chain;
use crate::storage::Storage;
use crate::{BlockDevice, BlockError, RawDisk, check_range};
use descriptor::{Descriptor, Kind};
use sparse::SparseExtent;
pub(crate) use write::{GRAIN, StreamWriter};

pub(super) const SECTOR: u64 = 512;
/// A descriptor is text; one of more bytes than this is none.
const MAX_DESCRIPTOR: u64 = 1 << 20;

#[derive(Debug)]
enum Part {
    Sparse(SparseExtent),
    /// A file's bytes from this offset on.
    Flat(Arc<dyn BlockDevice>, u64),
    Zeros,
}

#[derive(Debug)]
struct VmdkDisk {
    /// Where each part ends on the disk, in bytes.
    parts: Vec<(u64, Part)>,
    len: u64,
    path: PathBuf,
}

pub(super) fn open(
    storage: Arc<dyn Storage>,
    path: PathBuf,
    chain: &mut Chain,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    let damaged = |what: String| BlockError::Damaged {
        path: path.clone(),
        format: "vmdk",
        what,
    };
    let mut start = [0; 4];
    let read = storage.read_at(&mut start, 0);
    read.map_err(|error| damaged(error.to_string()))?;
    let mut parts = Vec::new();
    let mut len = 0u64;
    if start == *b"KDMV" {
        let extent = SparseExtent::read(storage).map_err(damaged)?;
        if let Some(text) = extent.descriptor().map_err(damaged)? {
            Descriptor::parse(&text).map_err(damaged)?;
        }
        len = extent.len();
        parts.push((len, Part::Sparse(extent)));
    } else {
        let there = storage.len().map_err(|error| damaged(error.to_string()))?;
        let bytes = super::read_bytes(&*storage, 0, there.min(MAX_DESCRIPTOR)).map_err(damaged)?;
        let text = String::from_utf8_lossy(&bytes);
        let descriptor = Descriptor::parse(&text).map_err(damaged)?;
        if descriptor.extents.is_empty() {
            return Err(damaged("its descriptor names no extents".into()));
        }
        for extent in descriptor.extents {
            let end = len
                .checked_add(extent.len)
                .filter(|&end| i64::try_from(end).is_ok());
            len = end.ok_or_else(|| damaged("its extents are too long".into()))?;
            let part = match extent.kind {
                Kind::Zeros => Part::Zeros,
                Kind::Flat { name, offset } => {
                    let file = chain.open_image(&part_of(chain, &path, &name)?, false)?;
                    chain.enter(&file)?;
                    let file = Arc::new(RawDisk::from_image(file, true, false));
                    Part::Flat(file, offset)
                }
                Kind::Sparse { name } => {
                    let file = chain.open_image(&part_of(chain, &path, &name)?, false)?;
                    chain.enter(&file)?;
                    Part::Sparse(SparseExtent::read(Arc::new(file.file)).map_err(damaged)?)
                }
            };
            parts.push((len, part));
        }
    }
    if !len.is_multiple_of(SECTOR) {
        return Err(damaged(format!("a disk of {len} bytes")));
    }
    Ok(Arc::new(VmdkDisk { parts, len, path }))
}

impl VmdkDisk {
    /// The part that has the byte at `offset`: where it begins, where it ends, and itself.
    fn part(&self, offset: u64) -> io::Result<(u64, u64, &Part)> {
        let index = self.parts.partition_point(|(end, _)| *end <= offset);
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.parts[before].0);
        let found = self.parts.get(index);
        let (end, part) = found.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((start, *end, part))
    }
}

impl BlockDevice for VmdkDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len, offset, buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (start, end, part) = self.part(at)?;
            let rest = &mut buf[done..];
            let len = usize::try_from(end - at).map_or(rest.len(), |len| len.min(rest.len()));
            let piece = &mut rest[..len];
            match part {
                Part::Zeros => piece.fill(0),
                Part::Flat(file, from) => file.read_at(piece, from + (at - start))?,
                Part::Sparse(extent) => extent.read_at(piece, at - start)?,
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
        check_range(self.len, offset, len)?;
        if len == 0 {
            return Ok((Extent::Data, 0));
        }
        let (start, end, part) = self.part(offset)?;
        let len = len.min(end - offset);
        match part {
            Part::Zeros => Ok((Extent::Hole, len)),
            Part::Flat(file, from) => file.extent(from + (offset - start), len),
            Part::Sparse(extent) => extent.extent(offset - start, len),
        }
    }

    fn identify(&self) -> String {
        self.path.display().to_string()
    }
}
