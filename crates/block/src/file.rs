//! Opening and locking the host file behind an image.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::BlockError;
use crate::device::not_stable;

/// An open image file, locked against a second writer for as long as any clone of it is open.
#[derive(Debug)]
pub(crate) struct ImageFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    /// Bytes.
    pub(crate) len: u64,
}

/// Opens `path`. A writer locks it alone, readers share it.
pub(crate) fn open_image(path: &Path, write: bool) -> Result<ImageFile, BlockError> {
    let image = open_file(path, write)?;
    lock(&image.file, path, write)?;
    Ok(image)
}

/// An image that somebody else has opened for us, under the name `path`.
pub(crate) fn given_image(file: File, path: &Path, write: bool) -> Result<ImageFile, BlockError> {
    let image = looked_at(file, path)?;
    lock(&image.file, path, write)?;
    Ok(image)
}

/// Opens `path` to be read though somebody else may write to it meanwhile.
pub(crate) fn open_unlocked(path: &Path) -> Result<ImageFile, BlockError> {
    open_file(path, false)
}

fn open_file(path: &Path, write: bool) -> Result<ImageFile, BlockError> {
    // Not blocking: a FIFO given by mistake must not hang us. Files and disks do not care.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(nonblock)
        .open(path);
    let file = opened.map_err(|source| explain_open(path, write, source))?;
    looked_at(file, path)
}

fn looked_at(mut file: File, path: &Path) -> Result<ImageFile, BlockError> {
    let open_error = |source| BlockError::Open {
        path: path.to_owned(),
        source,
    };
    let kind = file.metadata().map_err(open_error)?.file_type();
    if kind.is_dir() {
        return Err(BlockError::Directory {
            path: path.to_owned(),
        });
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err(BlockError::NotADisk {
            path: path.to_owned(),
        });
    }
    let len = file.seek(SeekFrom::End(0)).map_err(open_error)?;
    Ok(ImageFile {
        file,
        path: path.to_owned(),
        len,
    })
}

/// Makes the file `path` out of what `write` puts into it, all of it or nothing: it has another name
/// until it is whole. With `replace`, a file of that name is replaced.
///
/// # Errors
/// When there is one already, or the host cannot make it. Nothing is left behind then.
pub(crate) fn create_whole(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let made = write_partial(path, replace, write)?;
    made.file.sync_all().inspect_err(|_| made.discard())?;
    made.name(path, replace)?;
    sync_directory(path)
}

/// As [`create_whole`] of a file that is not there yet, but it may be that nothing of it is on stable storage, or a part,
/// until [`settle`] has returned: who finds it after the host's power failed has to know that.
///
/// # Errors
/// As [`create_whole`].
pub(crate) fn create_soon(
    path: &Path,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let made = write_partial(path, false, write)?;
    made.name(path, false)?;
    Ok(made.file)
}

/// The file `path`, and that it is there, is on stable storage when this returns.
///
/// # Errors
/// When it may not be.
pub(crate) fn settle(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all().map_err(not_stable)?;
    sync_directory(path).map_err(not_stable)
}

/// A file that has not its own name yet.
struct Partial {
    file: File,
    path: PathBuf,
}

fn write_partial(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<Partial> {
    if !replace && path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}.part", std::process::id()));
    let path = path.with_file_name(partial);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = match options.open(&path) {
        // One with this process's number was killed: guests' processes have the same to themselves.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&path)?;
            options.open(&path)?
        }
        opened => opened?,
    };
    let partial = Partial { file, path };
    write(&partial.file).inspect_err(|_| partial.discard())?;
    Ok(partial)
}

impl Partial {
    fn name(&self, path: &Path, replace: bool) -> io::Result<()> {
        let flags = if replace {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        let named = match renameat_with(CWD, &self.path, CWD, path, flags) {
            // Some file systems know of no flags; nobody was there a moment ago.
            Err(Errno::INVAL) => std::fs::rename(&self.path, path),
            done => done.map_err(io::Error::from),
        };
        named.inspect_err(|_| self.discard())
    }

    fn discard(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn explain_open(path: &Path, write: bool, source: io::Error) -> BlockError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => BlockError::Missing { path },
        io::ErrorKind::IsADirectory => BlockError::Directory { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            BlockError::NotPermitted { path, write }
        }
        _ => BlockError::Open { path, source },
    }
}

/// Lets go of the lock of a file that is written to, or takes it again.
pub(crate) fn hold(file: &File, held: bool) -> io::Result<()> {
    let done = match held {
        false => file.unlock(),
        true => patiently(|| file.try_lock()).map_err(io::Error::from),
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}

/// A process that is being made has the descriptors of the one that makes it, until it runs its program: what was let
/// go may be locked for a moment longer.
fn patiently(lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 1..TRIES {
        match lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    lock()
}

/// The lock belongs to the open file description, so clones of `file` keep it.
fn lock(file: &File, path: &Path, write: bool) -> Result<(), BlockError> {
    let locked = patiently(|| match write {
        true => file.try_lock(),
        false => file.try_lock_shared(),
    });
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(BlockError::InUse {
            path: path.to_owned(),
        }),
        // Some network file systems have no locks; a disk there must still be usable.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(source)) => Err(BlockError::Open {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
