//! Descriptors of directories, which would lead out of a new root: `..` of what they are goes on in
//! the old one.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fstat, openat};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::process::{chdir, getcwd};

use crate::descriptors_raw;

/// One that this process has, and what it is called.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: Option<RawFd>,
    path: PathBuf,
}

/// Those that this process has now, and where it stands.
pub(crate) fn directories() -> Vec<Directory> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let (true, Ok(path)) = (is_directory(fd), fs::read_link(entry.path())) {
            found.push(Directory { fd: Some(fd), path });
        }
    }
    if let Ok(path) = getcwd(Vec::new()) {
        let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
        found.push(Directory { fd: None, path });
    }
    found
}

fn is_directory(fd: RawFd) -> bool {
    let status = descriptors_raw::with(fd, |fd| fstat(fd));
    status.is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

/// Those of `before` as they are called now; what has no such name here becomes the root.
///
/// # Errors
/// When one stays as it was.
pub(crate) fn open_anew(before: &[Directory]) -> Result<(), Errno> {
    for directory in before {
        match directory.fd {
            None => chdir(&directory.path).or_else(|_| chdir("/"))?,
            // It may have been closed meanwhile: the one that it was read by has.
            Some(fd) if !is_directory(fd) => {}
            Some(fd) => descriptors_raw::with(fd, |fd| replace(fd, directory))?,
        }
    }
    Ok(())
}

fn replace(fd: BorrowedFd<'_>, directory: &Directory) -> Result<(), Errno> {
    let path_only = fcntl_getfl(fd)? & OFlags::PATH;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | path_only;
    let fresh = openat(CWD, &directory.path, flags, Mode::empty())
        .or_else(|_| openat(CWD, "/", flags, Mode::empty()))?;
    let closed = fcntl_getfd(fd)?.contains(FdFlags::CLOEXEC);
    descriptors_raw::replace(&fresh, fd, closed)
}
