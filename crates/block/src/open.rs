//! From a path and a wish to a disk: format probe, read-only, overlay.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::fstat;

use crate::file::{ImageFile, given_image, open_image};
use crate::foreign::open_foreign;
use crate::nbd::{NbdAddress, NbdDisk};
use crate::overlay::{TemporaryOverlay, open_kept, open_layered};
use crate::qcow2::Qcow2Disk;
use crate::raw::read_or_zeros;
use crate::{BlockDevice, BlockError, RawDisk};

/// Most backing files under one image.
const MAX_BACKING_FILES: usize = 32;

/// How the image's file is to be read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// By its magic; without one it is raw.
    #[default]
    Probe,
    Raw,
    Qcow2,
    /// Of VMware; guests only read it, and conversion makes it anew.
    Vmdk,
    /// Of `VirtualBox`; only read.
    Vdi,
    /// Of Virtual PC, also called vpc; only read.
    Vhd,
    /// Of Hyper-V; only read.
    Vhdx,
}

impl Format {
    /// All but [`Format::Probe`].
    pub const ALL: [Format; 6] = [
        Format::Raw,
        Format::Qcow2,
        Format::Vmdk,
        Format::Vdi,
        Format::Vhd,
        Format::Vhdx,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Probe => "probe",
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vdi => "vdi",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
        }
    }

    /// The format of this name; vhd is also known as vpc.
    #[must_use]
    pub fn named(name: &str) -> Option<Format> {
        let known = [Format::Probe].into_iter().chain(Format::ALL);
        let name = if name == "vpc" { "vhd" } else { name };
        known.into_iter().find(|format| format.name() == name)
    }

    /// What headers of images call it.
    pub(crate) fn header_name(self) -> &'static str {
        match self {
            Format::Vhd => "vpc",
            format => format.name(),
        }
    }

    /// Images of it can be written to.
    #[must_use]
    pub fn is_writable(self) -> bool {
        matches!(self, Format::Probe | Format::Raw | Format::Qcow2)
    }
}

/// Which files of the host an image may name as a part of it. An image that somebody else made may
/// name any, and its guest would read it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those in its own directory.
    #[default]
    Beside,
    /// Any that the user may read.
    Anywhere,
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
    /// Between the image and an overlay: overlays that were kept before, the lowest first.
    pub layers: Vec<PathBuf>,
    pub trust: Trust,
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
        layers,
        trust,
    } = options;
    let mut chain = Chain::new(*trust);
    match overlay {
        Overlay::None => chain.open(path, *format, *read_only),
        Overlay::Temporary => {
            let base = if layers.is_empty() {
                chain.open(path, *format, true)?
            } else {
                open_layered((path, *format), layers, &mut chain)?
            };
            if *read_only {
                return Ok(base);
            }
            Ok(Arc::new(TemporaryOverlay::new(base)?))
        }
        Overlay::Keep(kept) => {
            let kept = open_kept(kept, (path, *format), layers, *read_only, &mut chain)?;
            Ok(Arc::new(kept))
        }
    }
}

/// Opens a disk of files that somebody else has opened: `files` has them by the names that the image and
/// [`image::files`](crate::image::files) have for them. There are no others.
///
/// # Errors
/// As [`open`]; an overlay that is kept is not among what it can be.
pub fn open_given(
    options: &DiskOptions,
    files: Vec<(PathBuf, File)>,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    let mut chain = Chain::new(options.trust);
    chain.given = Some(files);
    let below = options.read_only || options.overlay != Overlay::None;
    let base = chain.open(&options.path, options.format, below)?;
    open_over(base, options)
}

/// Puts what `options` says over a disk that is open already; `options.path` is its name.
///
/// # Errors
/// When it cannot be written to and should be, or the overlay cannot be made: one that is kept has a
/// file below it.
pub fn open_over(
    base: Arc<dyn BlockDevice>,
    options: &DiskOptions,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    match &options.overlay {
        Overlay::Temporary if !options.read_only => Ok(Arc::new(TemporaryOverlay::new(base)?)),
        Overlay::None | Overlay::Temporary => Ok(base),
        Overlay::Keep(_) => Err(BlockError::Unsupported {
            path: options.path.clone(),
            feature: "an overlay that is kept over a disk that is no file".to_owned(),
        }),
    }
}

/// The files opened so far for one disk, so that a chain that names itself ends.
#[derive(Debug)]
pub(crate) struct Chain {
    files: Vec<(u64, u64)>,
    paths: Vec<PathBuf>,
    trust: Trust,
    /// What is open already, instead of all that has a name.
    given: Option<Vec<(PathBuf, File)>>,
}

impl Chain {
    pub(crate) fn new(trust: Trust) -> Chain {
        Chain {
            files: Vec::new(),
            paths: Vec::new(),
            trust,
            given: None,
        }
    }

    /// A writer locks the image alone, readers share it.
    pub(crate) fn open_image(&self, path: &Path, write: bool) -> Result<ImageFile, BlockError> {
        let Some(given) = &self.given else {
            return open_image(path, write);
        };
        let found = given.iter().find(|(name, _)| name == path);
        let (_, file) = found.ok_or_else(|| BlockError::Missing {
            path: path.to_owned(),
        })?;
        let file = file.try_clone().map_err(|source| BlockError::Open {
            path: path.to_owned(),
            source,
        })?;
        given_image(file, path, write)
    }

    pub(crate) fn into_paths(self) -> Vec<PathBuf> {
        self.paths
    }

    pub(crate) fn open(
        &mut self,
        path: &Path,
        format: Format,
        read_only: bool,
    ) -> Result<Arc<dyn BlockDevice>, BlockError> {
        let uri = path.to_str().filter(|path| NbdAddress::is_uri(path));
        if let Some(uri) = uri.filter(|_| self.given.is_none()) {
            return open_nbd(uri, format, read_only);
        }
        // Formats that are only read are known after a look at the file.
        let image = self.open_image(path, !read_only)?;
        let found = resolve_format(&image, format)?;
        if !read_only && !found.is_writable() {
            return Err(BlockError::OnlyRead {
                path: path.to_owned(),
                format: found.name(),
            });
        }
        self.open_resolved(image, found, read_only, format == Format::Probe)
    }

    /// Opens an image that nobody else reads as anything else; `guessed` says that only its first
    /// bytes told its format.
    pub(crate) fn open_resolved(
        &mut self,
        image: ImageFile,
        format: Format,
        read_only: bool,
        guessed: bool,
    ) -> Result<Arc<dyn BlockDevice>, BlockError> {
        Ok(match format {
            Format::Probe | Format::Raw => {
                self.enter(&image)?;
                Arc::new(RawDisk::from_image(image, read_only, guessed))
            }
            Format::Qcow2 => Arc::new(Qcow2Disk::from_image(image, read_only, self)?),
            _ => open_foreign(image, format, self)?,
        })
    }

    /// Opens what an image names as its backing file, to be read.
    pub(crate) fn open_backing(
        &mut self,
        image: &Path,
        name: &str,
        format: Format,
    ) -> Result<Arc<dyn BlockDevice>, BlockError> {
        let path = self.locate(image, name)?;
        let backing = self.open_image(&path, false)?;
        let found = resolve_format(&backing, format)?;
        self.open_resolved(backing, found, true, false)
    }

    /// Where the name that an image has of another file leads: to a file beside it, or, when the user
    /// trusts it, anywhere. Names with a protocol lead nowhere.
    pub(crate) fn locate(&self, image: &Path, name: &str) -> Result<PathBuf, BlockError> {
        let directory = image.parent().unwrap_or(Path::new(""));
        let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        let file = !name.is_empty() && !name.contains('\0');
        let local = file
            && !name
                .split('/')
                .next()
                .is_some_and(|start| start.contains(':'));
        let trusted = self.trust == Trust::Anywhere && local;
        if !(plain || trusted) {
            return Err(BlockError::BackingElsewhere {
                path: image.to_owned(),
                backing: name.to_owned(),
            });
        }
        Ok(directory.join(name))
    }

    pub(crate) fn enter(&mut self, image: &ImageFile) -> Result<(), BlockError> {
        let status = fstat(&image.file).map_err(|error| BlockError::Open {
            path: image.path.clone(),
            source: error.into(),
        })?;
        let file = (status.st_dev, status.st_ino);
        if self.files.contains(&file) || self.files.len() > MAX_BACKING_FILES {
            return Err(BlockError::ChainTooLong {
                path: image.path.clone(),
                limit: MAX_BACKING_FILES,
            });
        }
        self.files.push(file);
        self.paths.push(image.path.clone());
        Ok(())
    }
}

/// Only the bytes of the export: an image in it would be another program's to look into.
fn open_nbd(
    uri: &str,
    format: Format,
    read_only: bool,
) -> Result<Arc<dyn BlockDevice>, BlockError> {
    if !matches!(format, Format::Probe | Format::Raw) {
        return Err(BlockError::Unsupported {
            path: uri.into(),
            feature: format!("the format {} over NBD", format.name()),
        });
    }
    let disk = NbdDisk::connect(uri)?;
    if disk.read_only() && !read_only {
        return Err(BlockError::OnlyRead {
            path: uri.into(),
            format: "read-only export",
        });
    }
    Ok(Arc::new(disk.guarded(read_only)))
}

/// Answers any format but [`Format::Probe`]. What the user said wins.
pub(crate) fn resolve_format(image: &ImageFile, format: Format) -> Result<Format, BlockError> {
    if format != Format::Probe {
        return Ok(format);
    }
    let mut start = [0; START];
    let failed = |source| BlockError::Open {
        path: image.path.clone(),
        source,
    };
    read_or_zeros(&image.file, &mut start, 0).map_err(failed)?;
    if let Some(format) = format_of(&start) {
        return Ok(format);
    }
    // A fixed vhd is a raw disk with a footer, which is no reason to take a raw disk for one: the
    // guest writes its disk's last sector too.
    Ok(Format::Raw)
}

/// Bytes that tell all formats.
pub(crate) const START: usize = 80;

/// Formats are known by their first bytes.
fn format_of(start: &[u8; START]) -> Option<Format> {
    match start {
        [b'Q', b'F', b'I', 0xfb, ..] => Some(Format::Qcow2),
        [b'K', b'D', b'M', b'V', 1..=3, 0, 0, 0, ..] => Some(Format::Vmdk),
        [b'#', b' ', b'D', b'i', b's', b'k', b' ', b'D', ..] => Some(Format::Vmdk),
        [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => Some(Format::Vhdx),
        [b'c', b'o', b'n', b'e', b'c', b't', b'i', b'x', ..] => Some(Format::Vhd),
        _ if start[64..68] == [0x7f, 0x10, 0xda, 0xbe] => Some(Format::Vdi),
        _ => None,
    }
}

/// Would a later probe take a disk that begins so for something else than raw?
pub(crate) fn is_image_magic(start: &[u8; START]) -> bool {
    format_of(start).is_some()
}

#[cfg(test)]
mod tests;
