//! Open files: reading, writing, and what else is done by a handle.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, fdatasync, fsync, seek, syncfs};
use rustix::io::{Errno, pread, pwrite};

use crate::entries::new_file;
use crate::nodes::Identity;
use crate::server::Folder;
use crate::tree::stat_in;
use crate::wire::{Answer, MAX_DATA, Request};

/// Most files that a guest may have open at a time, of a folder.
pub(crate) const MOST: usize = 1024;
/// Of what a guest may ask for when it opens a file; the rest is its own kernel's affair.
const FLAGS: OFlags = OFlags::APPEND
    .union(OFlags::TRUNC)
    .union(OFlags::DSYNC)
    .union(OFlags::SYNC);
const ACCESS_MODE: u32 = 3;
/// In FSYNC: contents alone.
const DATA_ONLY: u32 = 1;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// What is open: a file, or a directory that is being read.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) file: OwnedFd,
    pub(crate) node: u64,
    /// What opens it again.
    pub(crate) flags: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) open: BTreeMap<u64, Handle>,
    pub(crate) last: u64,
}

impl Handles {
    /// # Errors
    /// ENFILE when there are too many.
    pub(crate) fn add(&mut self, file: OwnedFd, node: u64, flags: OFlags) -> Result<u64, Errno> {
        if self.open.len() >= MOST {
            return Err(Errno::NFILE);
        }
        self.last += 1;
        let handle = Handle {
            file,
            node,
            flags: flags.bits(),
        };
        self.open.insert(self.last, handle);
        Ok(self.last)
    }

    /// # Errors
    /// EBADF when there is none.
    pub(crate) fn file(&self, number: u64) -> Result<BorrowedFd<'_>, Errno> {
        use std::os::fd::AsFd;
        let handle = self.open.get(&number).ok_or(Errno::BADF)?;
        Ok(handle.file.as_fd())
    }
}

impl Folder {
    pub(crate) fn open(
        &mut self,
        node: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let flags = self.flags(request.u32()?)?;
        let file = self.regular(node, flags)?;
        let handle = self.handles.add(file, node, flags & !OFlags::TRUNC)?;
        opened(handle, answer);
        Ok(())
    }

    /// `struct fuse_create_in`.
    pub(crate) fn create(
        &mut self,
        parent: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let raw = request.u32()?;
        let (flags, mode) = (self.flags(raw)?, request.u32()?);
        request.skip(8)?;
        let name = request.name()?;
        if self.handles.open.len() >= MOST {
            return Err(Errno::NFILE);
        }
        let directory = self.tree.directory(&self.nodes, parent)?;
        let exclusive = OFlags::from_bits_retain(raw).contains(OFlags::EXCL);
        let made = match new_file(&directory, &name, flags, mode) {
            Err(Errno::EXIST) if !exclusive => None,
            made => Some(made?),
        };
        let stat = stat_in(&directory, &name)?;
        let node = self.nodes.tell(parent, name, Identity::of(&stat))?;
        let file = match made {
            Some(file) => file,
            // Somebody else has made it.
            None => self.regular(node, flags)?,
        };
        let handle = self.handles.add(file, node, flags & !OFlags::TRUNC)?;
        self.entry(node, &stat, answer);
        opened(handle, answer);
        Ok(())
    }

    /// Of a guest's request to open, as they are the host's.
    fn flags(&self, raw: u32) -> Result<OFlags, Errno> {
        let access = match raw & ACCESS_MODE {
            0 => OFlags::RDONLY,
            1 => OFlags::WRONLY,
            2 => OFlags::RDWR,
            _ => return Err(Errno::INVAL),
        };
        let flags = access | (OFlags::from_bits_retain(raw) & FLAGS);
        let changes = access != OFlags::RDONLY || flags.contains(OFlags::TRUNC);
        if self.options.read_only && changes {
            return Err(Errno::ROFS);
        }
        Ok(flags)
    }

    /// `struct fuse_read_in`.
    pub(crate) fn read(
        &mut self,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        let file = self.handles.file(handle)?;
        let wanted = (size as usize).min(MAX_DATA).min(answer.room());
        let begin = answer.len();
        let buffer = answer.extend(wanted);
        let mut done = 0;
        while done < wanted {
            match pread(
                file,
                &mut buffer[done..],
                offset.saturating_add(done as u64),
            ) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        answer.truncate(begin + done);
        Ok(())
    }

    /// `struct fuse_write_in`, then what to write.
    pub(crate) fn write(
        &mut self,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        request.skip(20)?;
        let data = request.data().get(..size as usize).ok_or(Errno::INVAL)?;
        let file = self.handles.file(handle)?;
        let mut done = 0;
        while done < data.len() {
            match pwrite(file, &data[done..], offset.saturating_add(done as u64)) {
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        answer.u32(u32::try_from(done).unwrap_or(u32::MAX));
        answer.u32(0);
        Ok(())
    }

    /// Somebody in the guest has closed it; it stays open for others.
    pub(crate) fn flush(&self, mut request: Request<'_>) -> Result<(), Errno> {
        self.handles.file(request.u64()?).map(drop)
    }

    pub(crate) fn sync(&self, mut request: Request<'_>) -> Result<(), Errno> {
        let (handle, flags) = (request.u64()?, request.u32()?);
        let file = self.handles.file(handle)?;
        if flags & DATA_ONLY != 0 {
            fdatasync(file)
        } else {
            fsync(file)
        }
    }

    pub(crate) fn sync_all(&self, node: u64) -> Result<(), Errno> {
        syncfs(self.tree.open(&self.nodes, node, OFlags::RDONLY)?)
    }

    pub(crate) fn release(&mut self, mut request: Request<'_>) -> Result<(), Errno> {
        let handle = request.u64()?;
        self.handles
            .open
            .remove(&handle)
            .map(drop)
            .ok_or(Errno::BADF)
    }

    /// `struct fuse_fallocate_in`.
    pub(crate) fn allocate(&self, mut request: Request<'_>) -> Result<(), Errno> {
        let (handle, offset, len) = (request.u64()?, request.u64()?, request.u64()?);
        let mode = FallocateFlags::from_bits(request.u32()?).ok_or(Errno::OPNOTSUPP)?;
        fallocate(self.handles.file(handle)?, mode, offset, len)
    }

    /// Where data, or a hole, begins; everything else the guest's kernel knows.
    pub(crate) fn seek(
        &self,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let (handle, offset, whence) = (request.u64()?, request.u64()?, request.u32()?);
        let from = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        answer.u64(seek(self.handles.file(handle)?, from)?);
        Ok(())
    }
}

/// `struct fuse_open_out`.
pub(crate) fn opened(handle: u64, answer: &mut Answer<'_>) {
    answer.u64(handle);
    answer.u32(0);
    answer.u32(0);
}
