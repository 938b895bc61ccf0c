//! The files a guest boots from, opened once so that a reboot finds the same ones.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::content::Content;
use super::error::Fault;
use super::{BootError, ImageError};

/// Kernels are far smaller; what is larger is not worth reading into memory to find out.
const MAX_KERNEL: u64 = 1 << 30;

/// A kernel and the parts of its initial RAM disk.
#[derive(Debug)]
pub struct BootSource {
    pub kernel: SourceFile,
    pub initrd: Vec<SourceFile>,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub file: File,
    /// In bytes, when it was opened.
    pub len: u64,
}

impl BootSource {
    /// Opens all files.
    ///
    /// # Errors
    /// When one is missing, cannot be read, or is no regular file.
    pub fn open(kernel: &Path, initrd: &[PathBuf]) -> Result<BootSource, BootError> {
        let parts: Result<_, _> = initrd.iter().map(|path| SourceFile::open(path)).collect();
        Ok(BootSource {
            kernel: SourceFile::open(kernel)?,
            initrd: parts?,
        })
    }

    /// Names the file that an image error is about.
    pub(super) fn blame(&self, fault: ImageError) -> BootError {
        match (&fault, self.initrd.first()) {
            (ImageError::InitrdTooLarge { .. }, Some(part)) => part.image_error(fault),
            _ => self.kernel.image_error(fault),
        }
    }
}

impl SourceFile {
    /// # Errors
    /// When it is missing, cannot be read, is no regular file, or is empty.
    pub fn open(path: &Path) -> Result<SourceFile, BootError> {
        let failed = |source| BootError::Open {
            path: path.to_owned(),
            source,
        };
        // Looked at before it is opened: opening a FIFO would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(BootError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len == 0 {
            return Err(BootError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(SourceFile {
            path: path.to_owned(),
            file,
            len,
        })
    }

    /// The whole content; refused when larger than the guest's memory.
    pub(super) fn read_all(&self, memory: u64) -> Result<Vec<u8>, BootError> {
        if self.len > memory.min(MAX_KERNEL) {
            return Err(BootError::LargerThanMemory {
                path: self.path.clone(),
                len: self.len,
                memory,
            });
        }
        let failed = |source| BootError::Read {
            path: self.path.clone(),
            source,
        };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        // It fits into the guest's memory.
        let mut bytes = Vec::with_capacity(self.len as usize);
        file.take(self.len)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Ok(bytes)
    }

    /// Its first `len` bytes, or all where it has fewer.
    pub(super) fn head(&self, len: usize) -> Result<Vec<u8>, Fault> {
        self.bytes(0, self.len.min(len as u64), "the file")
    }

    pub(super) fn image_error(&self, source: ImageError) -> BootError {
        BootError::Image {
            path: self.path.clone(),
            source,
        }
    }
}
