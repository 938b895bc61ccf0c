//! A kept overlay: a qcow2 that names the image as its backing file, so that qemu-img knows it too.

use std::fs::canonicalize;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::file::{create_whole, open_image};
use crate::open::{Chain, resolve_format};
use crate::qcow2::{Header, NewQcow2, Qcow2Disk, write_new};
use crate::{BlockError, Format};

/// A cluster of an overlay has 2 to the power of this bytes.
const CLUSTER_BITS: u32 = 16;

/// Opens the overlay `kept` of the image `base`, creating it first if there is none.
///
/// The base is the one that the user names, wherever it lies; the name in the overlay's header must
/// agree, since an overlay over anything but its own base is garbage.
pub(crate) fn open_kept(
    kept: &Path,
    base: &Path,
    format: Format,
    read_only: bool,
    chain: &mut Chain,
) -> Result<Qcow2Disk, BlockError> {
    let base_image = open_image(base, false)?;
    let format = resolve_format(&base_image, format)?;
    let below = chain.open_resolved(base_image, format, true, false)?;
    if !kept.exists() {
        create(kept, base, format, below.len())?;
    }
    let image = open_image(kept, !read_only)?;
    let header = Header::read(&image.file, &image.path, !read_only)?;
    check_base(kept, base, header.backing.clone())?;
    chain.enter(&image)?;
    Qcow2Disk::over(
        Arc::new(image.file),
        image.path,
        header,
        read_only,
        Some(below),
    )
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
    let new = NewQcow2 {
        size,
        cluster_bits: CLUSTER_BITS,
        lazy_refcounts: false,
        backing: Some((name, format.header_name().to_owned())),
    };
    create_whole(kept, false, |file| write_new(file, &new)).map_err(failed)
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
