//! A kept overlay: a qcow2 that names the image as its backing file, so that qemu-img knows it too.

use std::fs::{OpenOptions, canonicalize, remove_file};
use std::io;
use std::path::Path;

use imago::file::File as ImagoFile;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, StorageOpenOptions};

use crate::file::open_image;
use crate::open::resolve_format;
use crate::qcow2::{Chain, Header, Qcow2Disk, contain, open_with_backing};
use crate::{BlockError, Format};

/// Opens the overlay `kept` of the image `base`, creating it first if there is none.
///
/// The base is the one that the user names, wherever it lies; the name in the overlay's header must
/// agree, since an overlay over anything but its own base is garbage.
pub(crate) fn open_kept(
    kept: &Path,
    base: &Path,
    format: Format,
    read_only: bool,
) -> Result<Qcow2Disk, BlockError> {
    let base_image = open_image(base, false)?;
    let format = resolve_format(&base_image, format)?;
    let mut chain = Chain::default();
    let base_layer = chain.open_any(base_image, format)?;
    if !kept.exists() {
        create(kept, base, format, base_layer.size())?;
    }
    let image = open_image(kept, !read_only)?;
    check_base(kept, base, Header::read(&image, !read_only)?.backing)?;
    let layer = open_with_backing(image, read_only, Some(base_layer))?;
    Qcow2Disk::from_layer(layer, kept.to_owned(), read_only)
}

fn create(kept: &Path, base: &Path, format: Format, size: u64) -> Result<(), BlockError> {
    let failed = |source: io::Error| BlockError::Create {
        path: kept.to_owned(),
        source,
    };
    let name = canonicalize(base).map_err(failed)?;
    let name = name
        .to_str()
        .ok_or_else(|| failed(io::Error::other("the image's path is not UTF-8")))?
        .to_owned();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(kept)
        .map_err(failed)?;
    let format = if format == Format::Qcow2 {
        "qcow2"
    } else {
        "raw"
    };
    let made = contain(|| {
        let storage =
            ImagoFile::from_open_file(file, StorageOpenOptions::new().write(true).filename(kept))?;
        Qcow2::<ImagoFile>::create_builder(storage)
            .size(crate::device::round_to_sectors(size))
            .backing(name, format.to_owned())
            .create()
    });
    made.map_err(|source| {
        // Half an overlay would be refused as damaged at the next start.
        let _ = remove_file(kept);
        failed(source)
    })
}

fn check_base(kept: &Path, base: &Path, found: Option<String>) -> Result<(), BlockError> {
    let found = found.unwrap_or_default();
    let directory = kept.parent().unwrap_or(Path::new(""));
    let same = match (canonicalize(directory.join(&found)), canonicalize(base)) {
        (Ok(named), Ok(base)) => named == base,
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err(BlockError::OtherBase {
        path: kept.to_owned(),
        found,
        base: base.to_owned(),
    })
}

#[cfg(test)]
mod tests;
