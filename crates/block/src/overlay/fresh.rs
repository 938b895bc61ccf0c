//! A kept overlay that is just being made. It has its name; that all of it comes to stable storage takes the host's
//! disk some milliseconds, which nobody waits for but the first flush, by which the guest may know of it.
//!
//! Where the host's power fails before, the overlay may be there in parts. Nothing that was flushed is in it, and
//! [`is_unfinished`] tells.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::file::{create_soon, settle};
use crate::qcow2::{MAGIC, NewQcow2, write_new};
use crate::storage::Storage;

/// The file of such an overlay.
#[derive(Debug)]
pub(super) struct Fresh {
    file: File,
    settling: Mutex<Settling>,
}

#[derive(Debug)]
enum Settling {
    Under(JoinHandle<io::Result<()>>),
    Done,
    Failed(io::ErrorKind, String),
}

impl Fresh {
    /// Makes the image `path`.
    ///
    /// # Errors
    /// When there is one already, or the host cannot make it.
    pub(super) fn create(path: &Path, new: &NewQcow2) -> io::Result<Fresh> {
        let file = create_soon(path, |file| write_new(file, new))?;
        let (settled, name) = (file.try_clone()?, path.to_owned());
        let thread = Builder::new().name("overlay".into());
        let settling = match thread.spawn(move || settle(&settled, &name)) {
            Ok(thread) => Settling::Under(thread),
            // A host without threads to spare, or one of ours that may make none.
            Err(_) => {
                settle(&file, path)?;
                Settling::Done
            }
        };
        Ok(Fresh {
            file,
            settling: Mutex::new(settling),
        })
    }

    /// Its file, by another descriptor.
    ///
    /// # Errors
    /// When the host has none left.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Waits until it is on stable storage as it was made.
    fn settled(&self) -> io::Result<()> {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Settling::Under(_) = *settling
            && let Settling::Under(thread) = std::mem::replace(&mut *settling, Settling::Done)
            && let Err(error) = thread
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        {
            *settling = Settling::Failed(error.kind(), error.to_string());
        }
        match &*settling {
            Settling::Failed(kind, why) => Err(io::Error::new(*kind, why.clone())),
            Settling::Under(_) | Settling::Done => Ok(()),
        }
    }
}

impl Drop for Fresh {
    /// It may be closed for good, and the host's power fail: then it is there.
    fn drop(&mut self) {
        let _ = self.settled();
    }
}

impl Storage for Fresh {
    fn len(&self) -> io::Result<u64> {
        Storage::len(&self.file)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        Storage::read_at(&self.file, buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.file.read_now(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        Storage::write_at(&self.file, buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.settled()?;
        Storage::sync(&self.file)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Storage::set_len(&self.file, len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)
    }

    fn hold(&self, held: bool) -> io::Result<()> {
        Storage::hold(&self.file, held)
    }
}

/// Whether an overlay that was found was never whole: what was made of it, the host's power failed before it was
/// settled. Of one that was settled the first cluster is counted. Spec: QEMU, docs/interop/qcow2.txt, "Header" and
/// "Host cluster management".
///
/// # Errors
/// When the host cannot read it.
pub(super) fn is_unfinished(file: &File) -> io::Result<bool> {
    const TABLE_FIELD: u64 = 48;
    if !starts_with_magic(file)? {
        return is_blank(file);
    }
    let table = word(file, TABLE_FIELD)?;
    let block = if table == 0 { 0 } else { word(file, table)? };
    Ok(block == 0 || word(file, block)? == 0)
}

fn starts_with_magic(file: &File) -> io::Result<bool> {
    Ok(word(file, 0)?.to_be_bytes().starts_with(&MAGIC))
}

/// Nothing is lost with it.
fn is_blank(file: &File) -> io::Result<bool> {
    /// More than an overlay has that nothing was written to.
    const MOST: u64 = 1 << 20;
    let len = Storage::len(file)?;
    if len > MOST {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    Storage::read_at(file, &mut bytes, 0)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

fn word(file: &File, offset: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    Storage::read_at(file, &mut bytes, offset)?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
