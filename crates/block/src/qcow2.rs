//! qcow2 images: read and written by `imago`, behind our own check of everything a header claims.
//!
//! A qcow2 is the one disk format whose header can ask for memory (tables of any size) and for
//! other files of the host (backing files). Both are settled here before `imago` sees the file:
//! sizes against the file's length and QEMU's own limits, backing files one by one, opened by us,
//! only from the image's own directory. Rejected: `imago`'s implicit opening with a gate, which is
//! asked only after the header was believed.

mod header;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use imago::file::File as ImagoFile;
use imago::format::PreallocateMode;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use rustix::fs::{MemfdFlags, fstat, memfd_create};

use crate::device::{refuse_write, round_to_sectors};
use crate::file::{ImageFile, open_image};
use crate::open::resolve_format;
use crate::{BlockDevice, BlockError, Format, check_range};

pub(crate) use header::{Header, MAGIC};

/// Most backing files under one image.
const MAX_BACKING_FILES: usize = 8;

/// An image and its backing files as `imago` sees them.
pub(crate) type Layer = FormatAccess<ImagoFile>;

#[derive(Debug)]
pub struct Qcow2Disk {
    /// Discarding wants the format to itself, everything else shares it.
    layer: RwLock<Layer>,
    path: PathBuf,
    /// Bytes of the virtual disk, rounded up to sectors.
    len: u64,
    read_only: bool,
}

impl Qcow2Disk {
    /// # Errors
    /// When the file cannot be opened, is in use, is damaged, or names a backing file that is
    /// missing or not beside it.
    pub fn open(path: &Path, read_only: bool) -> Result<Qcow2Disk, BlockError> {
        Qcow2Disk::from_image(open_image(path, !read_only)?, read_only)
    }

    pub(crate) fn from_image(image: ImageFile, read_only: bool) -> Result<Qcow2Disk, BlockError> {
        let path = image.path.clone();
        let mut chain = Chain::default();
        let layer = chain.open_qcow2(image, read_only)?;
        Qcow2Disk::from_layer(layer, path, read_only)
    }

    pub(crate) fn from_layer(
        layer: Layer,
        path: PathBuf,
        read_only: bool,
    ) -> Result<Qcow2Disk, BlockError> {
        let len = round_to_sectors(layer.size());
        if !read_only && len != layer.size() {
            contain(|| layer.resize_grow(len, PreallocateMode::None))
                .map_err(|error| damaged(&path, &error))?;
        }
        Ok(Qcow2Disk {
            layer: RwLock::new(layer),
            path,
            len,
            read_only,
        })
    }

    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.read_only {
            return Err(refuse_write());
        }
        check_range(self.len, offset, len)
    }

    fn shared<T>(&self, work: impl FnOnce(&Layer) -> io::Result<T>) -> io::Result<T> {
        let layer = self.layer.read().map_err(|_| broken())?;
        contain(|| work(&layer))
    }
}

impl BlockDevice for Qcow2Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len, offset, buf.len() as u64)?;
        self.shared(|layer| {
            // A read-only disk keeps an odd size; the rest of its last sector is zeros.
            let inside = layer.size().saturating_sub(offset).min(buf.len() as u64);
            let (data, rest) = buf.split_at_mut(usize::try_from(inside).unwrap_or(usize::MAX));
            rest.fill(0);
            if data.is_empty() {
                return Ok(());
            }
            layer.read(data, offset)
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        self.shared(|layer| layer.write(buf, offset))
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        // `flush` writes cached tables to the file, `sync` the file to the disk.
        self.shared(|layer| layer.flush().and_then(|()| layer.sync()))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        let mut layer = self.layer.write().map_err(|_| broken())?;
        match contain(|| layer.discard_to_any(offset, len)) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done,
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.check_write(offset, len)?;
        if unmap {
            let mut layer = self.layer.write().map_err(|_| broken())?;
            return contain(|| layer.discard_to_zero(offset, len));
        }
        self.shared(|layer| layer.write_zeroes(offset, len))
    }

    fn identify(&self) -> String {
        self.path.display().to_string()
    }
}

/// The files opened so far for one disk, so that a chain that names itself ends.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    files: Vec<(u64, u64)>,
}

impl Chain {
    /// Opens a qcow2 and, from its own directory, what it names as backing files.
    pub(crate) fn open_qcow2(
        &mut self,
        image: ImageFile,
        read_only: bool,
    ) -> Result<Layer, BlockError> {
        self.enter(&image)?;
        let header = Header::read(&image, !read_only)?;
        let backing = match &header.backing {
            None => None,
            Some(name) => {
                let path = beside(&image.path, name)?;
                let format = header.backing_format(&image.path)?;
                Some(self.open_any(open_image(&path, false)?, format)?)
            }
        };
        open_with_backing(image, read_only, backing)
    }

    /// Opens a read-only layer of either format.
    pub(crate) fn open_any(
        &mut self,
        image: ImageFile,
        format: Format,
    ) -> Result<Layer, BlockError> {
        match resolve_format(&image, format)? {
            Format::Qcow2 => self.open_qcow2(image, true),
            _ => {
                self.enter(&image)?;
                let path = image.path.clone();
                let file = storage(image, true)?;
                let raw = contain(|| Raw::builder(file).open(DenyImplicitOpenGate::default()));
                Ok(FormatAccess::new(raw.map_err(|e| damaged(&path, &e))?))
            }
        }
    }

    fn enter(&mut self, image: &ImageFile) -> Result<(), BlockError> {
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
        Ok(())
    }
}

/// Opens a qcow2 whose header has been checked, over a backing layer that the caller opened.
pub(crate) fn open_with_backing(
    image: ImageFile,
    read_only: bool,
    backing: Option<Layer>,
) -> Result<Layer, BlockError> {
    let path = image.path.clone();
    let file = storage(image, read_only)?;
    let opened = contain(|| {
        Qcow2::<ImagoFile>::builder(file)
            .write(!read_only)
            .backing(backing)
            .data_file(None)
            .open(DenyImplicitOpenGate::default())
    });
    Ok(FormatAccess::new(opened.map_err(|e| damaged(&path, &e))?))
}

/// The image's file, still carrying our lock, as `imago` takes it.
pub(crate) fn storage(image: ImageFile, read_only: bool) -> Result<ImagoFile, BlockError> {
    let options = StorageOpenOptions::new()
        .write(!read_only)
        .filename(&image.path);
    ImagoFile::from_open_file(image.file, options).map_err(|source| BlockError::Open {
        path: image.path,
        source,
    })
}

/// Where a backing file's name leads: a plain file name in the image's own directory, or nowhere.
fn beside(image: &Path, name: &str) -> Result<PathBuf, BlockError> {
    let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    if !plain {
        return Err(BlockError::BackingElsewhere {
            path: image.to_owned(),
            backing: name.to_owned(),
        });
    }
    Ok(image.parent().unwrap_or(Path::new("")).join(name))
}

/// Calls `imago`. It has no promise that a damaged image cannot make it panic, so a panic becomes
/// an error of this one disk.
pub(crate) fn contain<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(broken()))
}

fn broken() -> io::Error {
    io::Error::other("the image's tables contradict each other")
}

pub(crate) fn damaged(path: &Path, error: &io::Error) -> BlockError {
    BlockError::Qcow2 {
        path: path.to_owned(),
        what: error.to_string(),
    }
}

/// Opens `bytes` as a qcow2 without backing files and reads and writes here and there, for fuzzing.
///
/// # Errors
/// When the header is refused. Errors of single reads and writes are none: the guest sees them.
pub fn check_qcow2(bytes: &[u8]) -> Result<(), BlockError> {
    let path = PathBuf::from("(bytes)");
    let open = |read_only: bool| -> Result<Qcow2Disk, BlockError> {
        let failed = |source: io::Error| BlockError::Open {
            path: path.clone(),
            source,
        };
        let memfd = memfd_create("qcow2", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let file = std::fs::File::from(memfd);
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).map_err(failed)?;
        let image = ImageFile {
            file,
            path: path.clone(),
            len: bytes.len() as u64,
        };
        let header = Header::read(&image, !read_only)?;
        if let Some(backing) = header.backing {
            return Err(BlockError::BackingElsewhere {
                path: path.clone(),
                backing,
            });
        }
        let layer = open_with_backing(image, read_only, None)?;
        Qcow2Disk::from_layer(layer, path.clone(), read_only)
    };
    let mut piece = [0; 4096];
    let reader = open(true)?;
    let steps = [0, 1, 7, 64].map(|part| reader.len() / 65 * part / 512 * 512);
    for offset in steps {
        let _ = reader.read_at(&mut piece, offset);
    }
    let writer = open(false)?;
    for offset in steps {
        let _ = writer.write_at(&piece, offset);
        let _ = writer.discard(offset, 4096);
        let _ = writer.read_at(&mut piece, offset);
    }
    let _ = writer.flush();
    Ok(())
}

#[cfg(test)]
mod tests;
