//! What is done with images while no guest has them: making, looking into, resizing, checking,
//! snapshots. Converting is in `convert.rs`.

use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::device::{SECTOR_SIZE, round_to_sectors};
use crate::file::{ImageFile, create_whole, open_image};
use crate::open::{Chain, resolve_format};
use crate::qcow2::{Header, NewQcow2, write_new};
use crate::{
    BlockDevice, BlockError, CheckReport, Checkpoint, DiskOptions, Format, Overlay, Qcow2Disk,
    Repair, SnapshotInfo, Trust,
};

/// A cluster of a new image has 2 to the power of this bytes: 64 KiB.
pub const CLUSTER_BITS: u32 = 16;

/// What a new image is to be.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// [`Format::Raw`] or [`Format::Qcow2`].
    pub format: Format,
    /// Bytes; without it, as large as the backing file.
    pub size: Option<u64>,
    /// Of a qcow2: a cluster has 2 to the power of this bytes.
    pub cluster_bits: u32,
    /// Of a qcow2: counts are written when the image is closed.
    pub lazy_refcounts: bool,
    /// Of a qcow2: what the disk shows until it is written to, and its format.
    pub backing: Option<(PathBuf, Format)>,
    /// Storage is taken at once.
    pub preallocate: bool,
    /// A file that is there already is replaced.
    pub replace: bool,
}

impl Default for NewImage {
    fn default() -> NewImage {
        NewImage {
            format: Format::Qcow2,
            size: None,
            cluster_bits: CLUSTER_BITS,
            lazy_refcounts: false,
            backing: None,
            preallocate: false,
            replace: false,
        }
    }
}

/// What is known of an image without reading its disk.
#[derive(Debug, Clone)]
pub struct ImageInfo {
    pub format: Format,
    /// Capacity of the disk, bytes.
    pub size: u64,
    /// Bytes that the file takes of the host's storage, and its length.
    pub allocated: u64,
    pub file_size: u64,
    pub qcow2: Option<Qcow2Info>,
}

#[derive(Debug, Clone)]
pub struct Qcow2Info {
    pub version: u32,
    /// Bytes.
    pub cluster_size: u64,
    pub lazy_refcounts: bool,
    /// It was not closed by whoever wrote to it last.
    pub was_open: bool,
    pub zstd: bool,
    /// The backing file as the header names it, and its format.
    pub backing: Option<String>,
    pub backing_format: Option<String>,
    pub snapshots: Vec<SnapshotInfo>,
}

/// Why a new image could not be made.
pub(crate) fn not_made(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> BlockError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => BlockError::Exists { path },
        _ => BlockError::Change { path, what, source },
    }
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> BlockError {
    let path = path.to_owned();
    move |source| BlockError::Change { path, what, source }
}

/// Makes an image, all of it or nothing.
///
/// # Errors
/// When there is a file of that name, the backing file cannot be used, or the host cannot write.
pub fn create(path: &Path, new: &NewImage) -> Result<u64, BlockError> {
    let mut size = new.size;
    let mut backing = None;
    if let Some((base, format)) = &new.backing {
        if new.format != Format::Qcow2 {
            return Err(BlockError::NoBacking {
                path: path.to_owned(),
            });
        }
        let base_path = if base.is_absolute() {
            base.clone()
        } else {
            path.parent().unwrap_or(Path::new("")).join(base)
        };
        let image = open_image(&base_path, false)?;
        let format = resolve_format(&image, *format)?;
        let below = Chain::new(Trust::Anywhere).open_resolved(image, format, true, false)?;
        size = size.or(Some(below.len()));
        let name = base.to_str().ok_or_else(|| BlockError::Change {
            path: base.clone(),
            what: "name as a backing file",
            source: io::Error::other("the path is not UTF-8"),
        })?;
        backing = Some((name.to_owned(), format.header_name().to_owned()));
    }
    let size = size.ok_or_else(|| BlockError::NoSize {
        path: path.to_owned(),
    })?;
    let size = round_to_sectors(size);
    create_whole(path, new.replace, |file| match new.format {
        Format::Raw => {
            file.set_len(size)?;
            if new.preallocate && size > 0 {
                rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size)?;
            }
            Ok(())
        }
        Format::Qcow2 => {
            let header = NewQcow2 {
                size,
                cluster_bits: new.cluster_bits,
                lazy_refcounts: new.lazy_refcounts,
                backing,
            };
            write_new(file, &header)?;
            if new.preallocate {
                preallocate(file.try_clone()?, path, size)?;
            }
            Ok(())
        }
        other => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("images of the format {} are not made", other.name()),
        )),
    })
    .map_err(not_made(path, "make"))?;
    Ok(size)
}

/// Gives every cluster of a new qcow2 its place.
fn preallocate(file: std::fs::File, path: &Path, size: u64) -> io::Result<()> {
    let header = Header::read(&file, path, true).map_err(io::Error::other)?;
    let storage = std::sync::Arc::new(file.try_clone()?);
    let disk = Qcow2Disk::over(storage, path.to_owned(), header, false, None);
    let disk = disk.map_err(io::Error::other)?;
    let mut at = 0;
    while at < size {
        at += disk.place(at, size - at)?;
    }
    disk.close()?;
    let len = file.metadata()?.len();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?;
    Ok(())
}

/// Looks into an image. Its backing file need not be there.
///
/// # Errors
/// When there is no such image, or its header is damaged.
pub fn info(path: &Path, format: Format, trust: Trust) -> Result<ImageInfo, BlockError> {
    let image = look_at(path)?;
    let format = resolve_format(&image, format)?;
    let status = image.file.metadata().map_err(failed(path, "look at"))?;
    let (allocated, file_size) = (status.blocks() * SECTOR_SIZE, image.len);
    if format != Format::Qcow2 {
        let disk = Chain::new(trust).open_resolved(image, format, true, false)?;
        return Ok(ImageInfo {
            format,
            size: disk.len(),
            allocated,
            file_size,
            qcow2: None,
        });
    }
    let disk = alone(image, true)?;
    let qcow2 = disk.describe().map_err(failed(path, "look into"))?;
    Ok(ImageInfo {
        format,
        size: disk.len(),
        allocated,
        file_size,
        qcow2: Some(qcow2),
    })
}

/// Opens an image to be looked at, though a guest writes to it.
fn look_at(path: &Path) -> Result<ImageFile, BlockError> {
    match open_image(path, false) {
        Err(BlockError::InUse { .. }) => crate::file::open_unlocked(path),
        opened => opened,
    }
}

/// A qcow2 without its backing file.
fn alone(image: ImageFile, read_only: bool) -> Result<Qcow2Disk, BlockError> {
    let header = Header::read(&image.file, &image.path, !read_only)?;
    Qcow2Disk::over(
        std::sync::Arc::new(image.file),
        image.path,
        header,
        read_only,
        None,
    )
}

/// The files that a disk consists of: the image, what it names as its parts, an overlay's base. In
/// the order in which they are opened.
///
/// # Errors
/// As [`crate::open`].
pub fn files(options: &DiskOptions) -> Result<Vec<PathBuf>, BlockError> {
    let mut chain = Chain::new(options.trust);
    match &options.overlay {
        Overlay::Keep(_) | Overlay::None | Overlay::Temporary => {
            chain.open(&options.path, options.format, true)?;
        }
    }
    Ok(chain.into_paths())
}

/// Gives the disk another capacity, in bytes; it is rounded up to sectors.
///
/// # Errors
/// When the format cannot, the disk would lose data and `shrink` does not allow it, or the host
/// cannot write.
pub fn resize(path: &Path, format: Format, size: u64, shrink: bool) -> Result<(), BlockError> {
    let image = open_image(path, true)?;
    let found = writable(&image, format)?;
    let size = round_to_sectors(size);
    let refuse = |old: u64| BlockError::Shrinks {
        path: path.to_owned(),
        old,
        new: size,
    };
    if found == Format::Raw {
        if size < image.len && !shrink {
            return Err(refuse(image.len));
        }
        let file = &image.file;
        let done = file.set_len(size).and_then(|()| file.sync_all());
        return done.map_err(failed(path, "resize"));
    }
    let chain = &mut Chain::new(Trust::Anywhere);
    let disk = Qcow2Disk::from_image(image, false, chain)?;
    if size < disk.len() && !shrink {
        return Err(refuse(disk.len()));
    }
    let done = disk.resize(size).and_then(|()| disk.close());
    done.map_err(failed(path, "resize"))
}

/// As [`BlockDevice::checkpoint`], of an image that no guest has.
///
/// # Errors
/// When it is in use or damaged, or the host cannot read or write.
pub fn checkpoint(
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<Option<Vec<Range<u64>>>, BlockError> {
    let image = open_image(path, true)?;
    if resolve_format(&image, Format::Probe)? != Format::Qcow2 {
        return Ok(None);
    }
    let disk = alone(image, false)?;
    let done = disk.checkpoint(checkpoint);
    let done = done.and_then(|same| disk.close().map(|()| same));
    done.map_err(failed(path, "look into"))
}

/// Checks an image, and puts right what is asked for.
///
/// # Errors
/// When it is no qcow2, cannot be checked, or the host cannot write.
pub fn check(path: &Path, format: Format, repair: Repair) -> Result<CheckReport, BlockError> {
    let write = repair != Repair::Nothing;
    let image = open_image(path, write)?;
    if resolve_format(&image, format)? != Format::Qcow2 {
        // Opening is all the check that these have.
        let format = resolve_format(&image, format)?;
        Chain::new(Trust::Beside).open_resolved(image, format, true, false)?;
        return Ok(CheckReport::default());
    }
    // The state before opening for writing repairs it.
    let before = alone(open_again(&image)?, true)?.check(Repair::Nothing);
    let before = before.map_err(failed(path, "check"))?;
    if !write {
        return Ok(before);
    }
    let disk = alone(image, false)?;
    let after = disk.check(repair).and_then(|_| {
        disk.close()?;
        disk.check(Repair::Nothing)
    });
    let after = after.map_err(failed(path, "repair"))?;
    let found = before.errors + before.leaks;
    Ok(CheckReport {
        repaired: found.saturating_sub(after.errors + after.leaks),
        ..before
    })
}

fn open_again(image: &ImageFile) -> Result<ImageFile, BlockError> {
    let file = image.file.try_clone();
    Ok(ImageFile {
        file: file.map_err(failed(&image.path, "read"))?,
        path: image.path.clone(),
        len: image.len,
    })
}

fn writable(image: &ImageFile, format: Format) -> Result<Format, BlockError> {
    let found = resolve_format(image, format)?;
    if found.is_writable() {
        return Ok(found);
    }
    Err(BlockError::OnlyRead {
        path: image.path.clone(),
        format: found.name(),
    })
}

/// What is done with the snapshots inside of a qcow2, by their names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotChange {
    Create(String),
    Apply(String),
    Delete(String),
}

/// The snapshots inside of an image.
///
/// # Errors
/// When it is no qcow2 or damaged.
pub fn snapshots(path: &Path) -> Result<Vec<SnapshotInfo>, BlockError> {
    let disk = alone(qcow2_only(look_at(path)?)?, true)?;
    disk.snapshots().map_err(failed(path, "look into"))
}

/// Makes, applies or deletes a snapshot inside of an image that no guest has.
///
/// # Errors
/// When it is no qcow2, the name is taken or unknown, or the host cannot write.
pub fn change_snapshots(path: &Path, change: &SnapshotChange) -> Result<(), BlockError> {
    let disk = alone(qcow2_only(open_image(path, true)?)?, false)?;
    let done = match change {
        SnapshotChange::Create(name) => disk.create_snapshot(name),
        SnapshotChange::Apply(name) => disk.apply_snapshot(name),
        SnapshotChange::Delete(name) => disk.delete_snapshot(name),
    };
    done.map_err(failed(path, "change snapshots of"))
}

fn qcow2_only(image: ImageFile) -> Result<ImageFile, BlockError> {
    match resolve_format(&image, Format::Probe)? {
        Format::Qcow2 => Ok(image),
        other => Err(BlockError::NoSnapshots {
            path: image.path,
            format: other.name(),
        }),
    }
}

#[cfg(test)]
mod tests;
