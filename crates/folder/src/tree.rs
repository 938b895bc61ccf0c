//! The walk from the folder's root to a node, which never leaves the folder.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, statat};
use rustix::io::Errno;

use crate::nodes::{Identity, Nodes, ROOT};

/// As the host's kernel has it.
const PATH_MAX: usize = 4096;
/// Directories above one another.
const DEEPEST: usize = PATH_MAX / 2;
/// How often a walk is tried again that a rename has disturbed.
const TRIES: usize = 32;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Identity {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Tree {
        Tree { root }
    }

    /// A directory that names are looked up in.
    ///
    /// # Errors
    /// ESTALE when the node is no more where it was, ENOTDIR when it is no directory.
    pub(crate) fn directory(&self, nodes: &Nodes, number: u64) -> Result<OwnedFd, Errno> {
        self.open(nodes, number, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The node's file. A link is opened itself, with [`OFlags::PATH`] alone.
    ///
    /// # Errors
    /// ESTALE when it is no more where it was; what the host says.
    pub(crate) fn open(&self, nodes: &Nodes, number: u64, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = path(nodes, number)?;
        let found = self.walk(&path, flags);
        // It has been replaced or taken away.
        let file = found.map_err(|errno| {
            if errno == Errno::NOENT {
                Errno::STALE
            } else {
                errno
            }
        })?;
        if number != ROOT && Identity::of(&fstat(&file)?) != nodes.get(number)?.identity {
            return Err(Errno::STALE);
        }
        Ok(file)
    }

    fn walk(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            match openat2(&self.root, path, flags, Mode::empty(), BENEATH) {
                // Somebody renames just now.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// What the node is now.
    ///
    /// # Errors
    /// As [`Tree::open`].
    pub(crate) fn stat(&self, nodes: &Nodes, number: u64) -> Result<Stat, Errno> {
        fstat(self.open(nodes, number, OFlags::PATH)?)
    }
}

/// What is called so in `directory`; a link is what it is itself.
pub(crate) fn stat_in(directory: impl AsFd, name: &CStr) -> Result<Stat, Errno> {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Relative to the root.
fn path(nodes: &Nodes, number: u64) -> Result<CString, Errno> {
    let mut names = Vec::new();
    let (mut number, mut len) = (number, 0);
    while number != ROOT {
        let node = nodes.get(number)?;
        len += node.name.count_bytes() + 1;
        // A guest may have been told of directories that were moved into one another.
        if len > PATH_MAX || names.len() > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        names.push(node.name.as_bytes());
        number = node.parent;
    }
    if names.is_empty() {
        return Ok(c".".to_owned());
    }
    names.reverse();
    CString::new(names.join(&b'/')).map_err(|_| Errno::INVAL)
}
