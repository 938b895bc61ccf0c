//! From a path and a wish to a disk: format probe, read-only, overlay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::{ImageFile, open_image};
use crate::overlay::{TemporaryOverlay, open_kept};
use crate::qcow2::{self, Qcow2Disk};
use crate::raw::read_or_zeros;
use crate::{BlockDevice, BlockError, RawDisk};

/// How the image's file is to be read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// By its magic; without one it is raw.
    #[default]
    Probe,
    Raw,
    Qcow2,
}

/// Where the guest's writes go.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Overlay {
    /// Into the image itself.
    #[default]
    None,
    /// Into an unlinked file in the directory for temporary files, gone with this process.
    Temporary,
    /// Into this qcow2, whose backing file is the image. Created if missing.
    Keep(PathBuf),
}

/// A disk that somebody wants.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    pub path: PathBuf,
    pub format: Format,
    pub read_only: bool,
    pub overlay: Overlay,
}

/// Opens a disk. The image is locked: for writing alone, for reading (also under an overlay) with
/// others who read.
///
/// # Errors
/// When the image is missing, not permitted, in use, no disk, damaged, or needs what we do not have.
pub fn open(options: &DiskOptions) -> Result<Arc<dyn BlockDevice>, BlockError> {
    let DiskOptions {
        path,
        format,
        read_only,
        overlay,
    } = options;
    match overlay {
        Overlay::None => open_base(path, *format, *read_only),
        Overlay::Temporary => {
            let base = open_base(path, *format, true)?;
            if *read_only {
                return Ok(base);
            }
            Ok(Arc::new(TemporaryOverlay::new(base)?))
        }
        Overlay::Keep(kept) => Ok(Arc::new(open_kept(kept, path, *format, *read_only)?)),
    }
}

fn open_base(
    path: &Path,
    format: Format,
    read_only: bool,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    let image = open_image(path, !read_only)?;
    Ok(match resolve_format(&image, format)? {
        Format::Qcow2 => Arc::new(Qcow2Disk::from_image(image, read_only)?),
        _ => {
            let guarded = format == Format::Probe;
            Arc::new(RawDisk::from_image(image, read_only, guarded))
        }
    })
}

/// Answers [`Format::Raw`] or [`Format::Qcow2`]. What the user said wins.
pub(crate) fn resolve_format(image: &ImageFile, format: Format) -> Result<Format, BlockError> {
    if format != Format::Probe {
        return Ok(format);
    }
    let mut start = [0; 8];
    read_or_zeros(&image.file, &mut start, 0).map_err(|source| BlockError::Open {
        path: image.path.clone(),
        source,
    })?;
    if start.starts_with(&qcow2::MAGIC) {
        return Ok(Format::Qcow2);
    }
    match foreign_format(&start) {
        Some(name) => Err(BlockError::Unsupported {
            path: image.path.clone(),
            feature: format!(
                "the image format {name} (give the format raw to use its bytes as they are)"
            ),
        }),
        None => Ok(Format::Raw),
    }
}

/// Formats that are known by their first bytes and that we do not read.
fn foreign_format(start: &[u8; 8]) -> Option<&'static str> {
    match start {
        b"KDMV\x01\0\0\0" | b"KDMV\x02\0\0\0" | b"KDMV\x03\0\0\0" | b"# Disk D" => Some("vmdk"),
        b"vhdxfile" => Some("vhdx"),
        b"conectix" => Some("vpc"),
        b"<<< Orac" => Some("vdi"),
        _ => None,
    }
}

/// Would a later probe take a disk that begins so for something else than raw?
pub(crate) fn is_image_magic(start: &[u8; 8]) -> bool {
    start.starts_with(&qcow2::MAGIC) || foreign_format(start).is_some()
}

#[cfg(test)]
mod tests;
