//! Names in directories: looked up, made, moved, removed.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, linkat, mkdirat, openat,
    readlinkat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::attributes::{BELIEVED, rights};
use crate::nodes::Identity;
use crate::server::Folder;
use crate::tree::{kind, stat_in};
use crate::wire::{Answer, Request};

/// `RENAME_NOREPLACE`, `RENAME_EXCHANGE`: what a guest may ask for.
const RENAME_FLAGS: u32 = 3;
/// Set-user-ID and set-group-ID.
const RUNS_AS_OWNER: u32 = 0o6000;

impl Folder {
    pub(crate) fn lookup(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let name = request.name()?;
        let directory = self.tree.directory(&self.nodes, parent)?;
        self.tell_of(parent, directory, name, answer)
    }

    pub(crate) fn forget(&mut self, node: u64, mut request: Request<'_>) -> Result<(), Errno> {
        let count = request.u64()?;
        self.nodes.forget(node, count);
        Ok(())
    }

    pub(crate) fn forget_all(&mut self, mut request: Request<'_>) -> Result<(), Errno> {
        let count = request.u32()?;
        request.skip(4)?;
        // Ends with the request, whatever it says.
        for _ in 0..count {
            let (node, lookups) = (request.u64()?, request.u64()?);
            self.nodes.forget(node, lookups);
        }
        Ok(())
    }

    pub(crate) fn read_link(&self, node: u64, answer: &mut Answer<'_>) -> Result<(), Errno> {
        let link = self.tree.open(&self.nodes, node, OFlags::PATH)?;
        let target = readlinkat(link, c"", Vec::new())?;
        answer.put(target.as_bytes());
        Ok(())
    }

    pub(crate) fn make_link(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let name = request.name()?;
        let target = request.text()?;
        self.make(parent, name, answer, |directory, name| {
            symlinkat(target, directory, name)
        })
    }

    /// A file, of no special kind.
    pub(crate) fn make_file(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let mode = request.u32()?;
        request.skip(12)?;
        let name = request.name()?;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Errno::PERM);
        }
        self.make(parent, name, answer, |directory, name| {
            new_file(directory, name, OFlags::WRONLY, mode).map(drop)
        })
    }

    pub(crate) fn make_directory(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let mode = request.u32()?;
        request.skip(4)?;
        let name = request.name()?;
        self.make(parent, name, answer, |directory, name| {
            mkdirat(directory, name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fchmod(openat(directory, name, flags, Mode::empty())?, rights(mode))
        })
    }

    pub(crate) fn remove(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        directories: bool,
    ) -> Result<(), Errno> {
        let name = request.name()?;
        let directory = self.tree.directory(&self.nodes, parent)?;
        let flags = if directories {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        unlinkat(directory, &name, flags)
    }

    pub(crate) fn rename(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        has_flags: bool,
    ) -> Result<(), Errno> {
        let new_parent = request.u64()?;
        let mut flags = 0;
        if has_flags {
            flags = request.u32()?;
            request.skip(4)?;
        }
        if flags & !RENAME_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        let (name, new_name) = (request.name()?, request.name()?);
        let from = self.tree.directory(&self.nodes, parent)?;
        let to = self.tree.directory(&self.nodes, new_parent)?;
        let flags = RenameFlags::from_bits_retain(flags);
        renameat_with(&from, &name, &to, &new_name, flags)?;
        // What is there now, or has been exchanged for it, is found at its new place.
        if let Ok(moved) = stat_in(&to, &new_name) {
            self.nodes.moved(Identity::of(&moved), new_parent, new_name);
        }
        if flags.contains(RenameFlags::EXCHANGE)
            && let Ok(moved) = stat_in(&from, &name)
        {
            self.nodes.moved(Identity::of(&moved), parent, name);
        }
        Ok(())
    }

    pub(crate) fn link(
        &mut self,
        new_parent: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let old = request.u64()?;
        let new_name = request.name()?;
        let known = self.nodes.get(old)?;
        let from = self.tree.directory(&self.nodes, known.parent)?;
        if Identity::of(&stat_in(&from, &known.name)?) != known.identity {
            return Err(Errno::STALE);
        }
        let name = known.name.clone();
        self.make(new_parent, new_name, answer, |to, new_name| {
            linkat(&from, &name, to, new_name, AtFlags::empty())
        })
    }

    /// What `act` makes in a directory, and the guest is told of.
    fn make(
        &mut self,
        parent: u64,
        name: CString,
        answer: &mut Answer<'_>,
        act: impl FnOnce(&OwnedFd, &CStr) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let directory = self.tree.directory(&self.nodes, parent)?;
        act(&directory, &name)?;
        self.tell_of(parent, directory, name, answer)
    }

    /// `struct fuse_entry_out` of what is called so now.
    pub(crate) fn tell_of(
        &mut self,
        parent: u64,
        directory: impl AsFd,
        name: CString,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let stat = stat_in(directory, &name)?;
        let number = self.nodes.tell(parent, name, Identity::of(&stat))?;
        self.entry(number, &stat, answer);
        Ok(())
    }

    pub(crate) fn entry(&self, number: u64, stat: &Stat, answer: &mut Answer<'_>) {
        answer.u64(number);
        answer.u64(0); // numbers are not given twice, and have no generations
        answer.u64(BELIEVED.as_secs());
        answer.u64(BELIEVED.as_secs());
        answer.u32(BELIEVED.subsec_nanos());
        answer.u32(BELIEVED.subsec_nanos());
        self.attribute(stat, answer);
    }

    /// The node's file, which is a regular one: others may wait for ever, or be devices.
    pub(crate) fn regular(&self, node: u64, flags: OFlags) -> Result<OwnedFd, Errno> {
        match kind(&self.tree.stat(&self.nodes, node)?) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR),
            _ => return Err(Errno::PERM),
        }
        // It may have been replaced since, by something that opening would wait for.
        let file = self
            .tree
            .open(&self.nodes, node, flags | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let mode = fstat(&file)?.st_mode;
        if mode & RUNS_AS_OWNER != 0 && flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            // As the kernel does for those who are not root: nobody runs what a guest has written as
            // its owner.
            fchmod(&file, rights(mode))?;
        }
        Ok(file)
    }
}

/// A file that was not there before.
pub(crate) fn new_file(
    directory: &OwnedFd,
    name: &CStr,
    flags: OFlags,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    // The guest's kernel has taken its own mask off, and ours is for our own files.
    fchmod(&file, rights(mode))?;
    Ok(file)
}
