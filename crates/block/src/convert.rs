//! Copying a disk into a new image, without what is zeros.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::device::Extent;
use crate::file::create_whole;
use crate::foreign::vmdk::{GRAIN, StreamWriter};
use crate::image::{NewImage, not_made};
use crate::qcow2::{Header, NewQcow2, write_new};
use crate::{BlockDevice, BlockError, Format, Qcow2Disk, RawDisk};

/// Read at once, bytes: at least a cluster of any size.
const PIECE: u64 = 2 << 20;
/// Zeros are looked for in units of this, bytes, in raw images.
const RAW_UNIT: usize = 4096;

/// Copies `source` into a new image at `path`, all of it or nothing. `report` is told how many bytes
/// of how many are done, and answers whether to go on. With `compress`, clusters of a qcow2 are
/// compressed; a vmdk is the stream-optimised one, which always is.
///
/// # Errors
/// When the source cannot be read, the target not be made, or `report` said to stop, which is
/// [`io::ErrorKind::Interrupted`]. Nothing is left behind then.
pub fn convert(
    source: &dyn BlockDevice,
    path: &Path,
    new: &NewImage,
    compress: bool,
    mut report: impl FnMut(u64, u64) -> bool,
) -> Result<(), BlockError> {
    let size = source.len();
    create_whole(path, new.replace, |file| match new.format {
        Format::Raw => {
            file.set_len(size)?;
            let image = crate::file::ImageFile {
                file: file.try_clone()?,
                path: path.to_owned(),
                len: size,
            };
            let target = RawDisk::from_image(image, false, false);
            copy(source, RAW_UNIT, &mut report, |bytes, at| {
                target.write_at(bytes, at)
            })
        }
        Format::Qcow2 => {
            let header = NewQcow2 {
                size,
                cluster_bits: new.cluster_bits,
                lazy_refcounts: new.lazy_refcounts,
                backing: None,
            };
            write_new(file, &header)?;
            let header = Header::read(file, path, true).map_err(io::Error::other)?;
            let storage = Arc::new(file.try_clone()?);
            let target = Qcow2Disk::over(storage, path.to_owned(), header, false, None);
            let target = target.map_err(io::Error::other)?;
            let unit = 1usize << new.cluster_bits;
            copy(source, unit, &mut report, |bytes, at| {
                if compress {
                    target.write_compressed(bytes, at)
                } else {
                    target.write_at(bytes, at)
                }
            })?;
            target.close()
        }
        Format::Vmdk => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut target = StreamWriter::new(io::BufWriter::new(file), size, &name)?;
            copy(source, GRAIN, &mut report, |bytes, at| {
                target.grain(bytes, at)
            })?;
            target.finish().map(drop)
        }
        other => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("images of the format {} are not made", other.name()),
        )),
    })
    .map_err(not_made(path, "write"))
}

/// Calls `write` for each unit that is not zeros. Several that follow each other are one call where
/// units are small.
fn copy(
    source: &dyn BlockDevice,
    unit: usize,
    report: &mut dyn FnMut(u64, u64) -> bool,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let size = source.len();
    let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(0)];
    let mut at = 0;
    while at < size {
        if !report(at, size) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (extent, len) = source.extent(at, size - at)?;
        let step = unit as u64;
        if extent != Extent::Data && at + len >= at.next_multiple_of(step) + step {
            // Whole units of nothing.
            at = if at + len == size {
                size
            } else {
                (at + len) / step * step
            };
            continue;
        }
        let len = usize::try_from(PIECE.min(size - at)).unwrap_or(0);
        let piece = &mut buffer[..len];
        source.read_at(piece, at)?;
        let mut start = 0;
        while start < len {
            let run = piece[start..].chunks(unit);
            let empty = |chunk: &[u8]| chunk.iter().all(|&byte| byte == 0);
            let skipped: usize = run.take_while(|it| empty(it)).map(<[u8]>::len).sum();
            start += skipped;
            let mut run = piece[start..].chunks(unit);
            let taken: usize = if unit == RAW_UNIT {
                run.take_while(|it| !empty(it)).map(<[u8]>::len).sum()
            } else {
                run.next().map_or(0, <[u8]>::len)
            };
            if taken > 0 {
                write(&piece[start..start + taken], at + start as u64)?;
            }
            start += taken;
        }
        at += len as u64;
    }
    report(size, size);
    Ok(())
}
