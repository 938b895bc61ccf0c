//! A kept overlay: a qcow2 that names the image as its backing file, so that qemu-img knows it too.

use std::fs::{canonicalize, rename};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::{ImageFile, given_image, open_image};
use crate::open::{Chain, resolve_format};
use crate::overlay::fresh::{Fresh, is_unfinished};
use crate::qcow2::{Header, NewQcow2, Qcow2Disk};
use crate::{BlockDevice, BlockError, Format};

/// A cluster of an overlay has 2 to the power of this bytes.
const CLUSTER_BITS: u32 = 16;

/// Opens the overlay `kept` of the image `base` and of the `layers` over it. One that is to be written and is not
/// there, or never was whole, is made.
///
/// The base is the one that the user names, wherever it lies; the name in the overlay's header must
/// agree, since an overlay over anything but its own base is garbage. Layers are overlays that were kept and
/// are not written any more; over what they lie is said here, whatever their headers say.
pub(crate) fn open_kept(
    kept: &Path,
    (base, format): (&Path, Format),
    layers: &[PathBuf],
    read_only: bool,
    chain: &mut Chain,
) -> Result<Qcow2Disk, BlockError> {
    let (below, name, format) = open_below((base, format), layers, chain)?;
    if !kept.exists() {
        return create(kept, (name, format), read_only, below, chain);
    }
    let image = open_image(kept, !read_only)?;
    let failed = |source: io::Error| BlockError::Create {
        path: kept.to_owned(),
        source,
    };
    if !read_only && is_unfinished(&image.file).unwrap_or(false) {
        // Nothing was kept in it. Whoever thinks otherwise finds it beside.
        rename(kept, aside(kept)).map_err(failed)?;
        return create(kept, (name, format), read_only, below, chain);
    }
    let header = Header::read(&image.file, &image.path, !read_only)?;
    check_base(kept, name, header.backing.clone())?;
    over(image, header, read_only, below, chain)
}

/// Opens the image `base` and the `layers` over it, to be written over; the name and the format of the uppermost.
fn open_below<'a>(
    (base, format): (&'a Path, Format),
    layers: &'a [PathBuf],
    chain: &mut Chain,
) -> Result<(Arc<dyn BlockDevice>, &'a Path, Format), BlockError> {
    let base_image = open_image(base, false)?;
    let mut format = resolve_format(&base_image, format)?;
    let mut name = base;
    let mut below = chain.open_resolved(base_image, format, true, false)?;
    for layer in layers {
        let image = open_image(layer, false)?;
        let header = Header::read(&image.file, &image.path, false)?;
        below = Arc::new(over(image, header, true, below, chain)?);
        (name, format) = (layer, Format::Qcow2);
    }
    Ok((below, name, format))
}

/// The image `base` and the `layers` over it, only to be read.
pub(crate) fn open_layered(
    base: (&Path, Format),
    layers: &[PathBuf],
    chain: &mut Chain,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    Ok(open_below(base, layers, chain)?.0)
}

fn over(
    image: ImageFile,
    header: Header,
    read_only: bool,
    below: Arc<dyn BlockDevice>,
    chain: &mut Chain,
) -> Result<Qcow2Disk, BlockError> {
    chain.enter(&image)?;
    Qcow2Disk::over(
        Arc::new(image.file),
        image.path,
        header,
        read_only,
        Some(below),
    )
}

fn create(
    kept: &Path,
    (base, format): (&Path, Format),
    read_only: bool,
    below: Arc<dyn BlockDevice>,
    chain: &mut Chain,
) -> Result<Qcow2Disk, BlockError> {
    let failed = |source: io::Error| BlockError::Create {
        path: kept.to_owned(),
        source,
    };
    let name = name_of(base, kept).map_err(failed)?;
    let name = name
        .to_str()
        .ok_or_else(|| failed(io::Error::other("the image's path is not UTF-8")))?
        .to_owned();
    let new = NewQcow2 {
        size: below.len(),
        cluster_bits: CLUSTER_BITS,
        lazy_refcounts: false,
        backing: Some((name, format.header_name().to_owned())),
    };
    let fresh = Fresh::create(kept, &new).map_err(failed)?;
    let image = given_image(fresh.file().map_err(failed)?, kept, !read_only)?;
    let header = Header::read(&image.file, kept, !read_only)?;
    chain.enter(&image)?;
    Qcow2Disk::over(Arc::new(fresh), image.path, header, read_only, Some(below))
}

/// Where an overlay is put that was never whole.
fn aside(kept: &Path) -> PathBuf {
    let mut name = kept.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    kept.with_file_name(name)
}

/// What the overlay `kept`, which is yet to be, calls its base: by the way from one to the other where both are a
/// guest's, in directories beside each other, so that the guest can be renamed.
fn name_of(base: &Path, kept: &Path) -> io::Result<PathBuf> {
    let base = canonicalize(base)?;
    let beside = canonicalize(
        kept.parent()
            .filter(|it| *it != "")
            .unwrap_or(Path::new(".")),
    )?;
    let guest = beside.parent();
    let inside = guest.and_then(|guest| base.strip_prefix(guest).ok());
    match inside {
        Some(inside) if inside.components().count() == 2 => Ok(Path::new("..").join(inside)),
        _ => Ok(base),
    }
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
