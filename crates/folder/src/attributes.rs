//! What files are: lengths, times, owners, rights.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, StatVfs, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
    fchmod, fstat, fstatvfs, ftruncate, utimensat,
};
use rustix::io::Errno;

use crate::nodes::ROOT;
use crate::server::Folder;
use crate::tree::kind;
use crate::wire::{Answer, Request};

/// How long the guest's kernel may believe what it was told: others change the folder, too.
pub(crate) const BELIEVED: Duration = Duration::from_secs(1);
/// Rights that a file may get. Not to run as its owner: it would do so at the host as well.
const RIGHTS: u32 = 0o1777;
/// Whom files belong to that are neither ours nor told of.
const NOBODY: u32 = 65534;

const SET_MODE: u32 = 1 << 0;
const SET_USER: u32 = 1 << 1;
const SET_GROUP: u32 = 1 << 2;
const SET_SIZE: u32 = 1 << 3;
const SET_ACCESSED: u32 = 1 << 4;
const SET_MODIFIED: u32 = 1 << 5;
const BY_HANDLE: u32 = 1 << 6;
const ACCESSED_NOW: u32 = 1 << 7;
const MODIFIED_NOW: u32 = 1 << 8;
/// In GETATTR.
const GET_BY_HANDLE: u32 = 1 << 0;

/// Rights as a file may be given them.
pub(crate) fn rights(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & RIGHTS)
}

impl Folder {
    pub(crate) fn get_attributes(
        &mut self,
        node: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let flags = request.u32()?;
        request.skip(4)?;
        let handle = request.u64()?;
        let stat = if flags & GET_BY_HANDLE != 0 {
            fstat(self.handles.file(handle)?)?
        } else {
            self.tree.stat(&self.nodes, node)?
        };
        self.attributes(&stat, answer);
        Ok(())
    }

    /// `struct fuse_setattr_in`.
    pub(crate) fn set_attributes(
        &mut self,
        node: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let valid = request.u32()?;
        request.skip(4)?;
        let (handle, size) = (request.u64()?, request.u64()?);
        request.skip(8)?;
        let (accessed, modified) = (request.u64()?, request.u64()?);
        request.skip(8)?;
        let (accessed_ns, modified_ns) = (request.u32()?, request.u32()?);
        request.skip(4)?;
        let mode = request.u32()?;
        request.skip(4)?;
        let (user, group) = (request.u32()?, request.u32()?);

        let before = self.tree.stat(&self.nodes, node);
        if valid & (SET_USER | SET_GROUP) != 0 {
            // Files have one owner. Who gives them to that one changes nothing.
            let is = before.as_ref().map_err(|errno| *errno)?;
            let kept = (valid & SET_USER == 0 || user == self.user(is))
                && (valid & SET_GROUP == 0 || group == self.group(is));
            if !kept {
                return Err(Errno::PERM);
            }
        }
        if valid & SET_SIZE != 0 {
            if valid & BY_HANDLE != 0 {
                ftruncate(self.handles.file(handle)?, size)?;
            } else {
                ftruncate(self.regular(node, OFlags::WRONLY)?, size)?;
            }
        }
        if valid & SET_MODE != 0 {
            fchmod(self.owned(node)?, rights(mode))?;
        }
        let times = Timestamps {
            last_access: time(valid, SET_ACCESSED, ACCESSED_NOW, accessed, accessed_ns),
            last_modification: time(valid, SET_MODIFIED, MODIFIED_NOW, modified, modified_ns),
        };
        if valid & (SET_ACCESSED | SET_MODIFIED) != 0 {
            self.set_times(node, &times)?;
        }
        let stat = if valid & BY_HANDLE != 0 {
            fstat(self.handles.file(handle)?)?
        } else {
            self.tree.stat(&self.nodes, node)?
        };
        self.attributes(&stat, answer);
        Ok(())
    }

    fn set_times(&self, node: u64, times: &Timestamps) -> Result<(), Errno> {
        if node == ROOT {
            let root = self.tree.open(&self.nodes, ROOT, OFlags::RDONLY)?;
            return rustix::fs::futimens(root, times);
        }
        let known = self.nodes.get(node)?;
        let directory = self.tree.directory(&self.nodes, known.parent)?;
        utimensat(directory, &known.name, times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// A file or directory, open in whichever way its rights allow, to have them changed.
    fn owned(&self, node: u64) -> Result<OwnedFd, Errno> {
        if node != ROOT && kind(&self.tree.stat(&self.nodes, node)?) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        let open = |flags| self.tree.open(&self.nodes, node, flags | OFlags::NONBLOCK);
        match open(OFlags::RDONLY) {
            Err(Errno::ACCESS) => open(OFlags::WRONLY),
            opened => opened,
        }
    }

    /// `struct fuse_attr_out`.
    pub(crate) fn attributes(&self, stat: &Stat, answer: &mut Answer<'_>) {
        answer.u64(BELIEVED.as_secs());
        answer.u32(BELIEVED.subsec_nanos());
        answer.u32(0);
        self.attribute(stat, answer);
    }

    /// `struct fuse_attr`.
    pub(crate) fn attribute(&self, stat: &Stat, answer: &mut Answer<'_>) {
        let bits = |value: i64| value.cast_unsigned();
        let low = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        answer.u64(stat.st_ino);
        answer.u64(bits(stat.st_size));
        answer.u64(bits(stat.st_blocks));
        answer.u64(bits(stat.st_atime));
        answer.u64(bits(stat.st_mtime));
        answer.u64(bits(stat.st_ctime));
        answer.u32(low(stat.st_atime_nsec));
        answer.u32(low(stat.st_mtime_nsec));
        answer.u32(low(stat.st_ctime_nsec));
        answer.u32(stat.st_mode);
        answer.u32(low(stat.st_nlink));
        answer.u32(self.user(stat));
        answer.u32(self.group(stat));
        answer.u32(low(stat.st_rdev));
        answer.u32(low(bits(stat.st_blksize)));
        answer.u32(0);
    }

    fn user(&self, stat: &Stat) -> u32 {
        self.owner(stat.st_uid, self.us.0)
    }

    fn group(&self, stat: &Stat) -> u32 {
        self.owner(stat.st_gid, self.us.1)
    }

    fn owner(&self, found: u32, ours: u32) -> u32 {
        match found {
            found if found == ours => self.options.owner,
            // Root's numbers are everybody's; another one's mean nothing to a guest.
            found if ours == 0 => found,
            _ => NOBODY,
        }
    }

    /// `struct fuse_statfs_out`.
    pub(crate) fn file_system(&self, node: u64, answer: &mut Answer<'_>) -> Result<(), Errno> {
        let found: StatVfs = fstatvfs(self.tree.open(&self.nodes, node, OFlags::PATH)?)?;
        let low = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        for count in [
            found.f_blocks,
            found.f_bfree,
            found.f_bavail,
            found.f_files,
            found.f_ffree,
        ] {
            answer.u64(count);
        }
        answer.u32(low(found.f_bsize));
        answer.u32(low(found.f_namemax));
        answer.u32(low(found.f_frsize));
        answer.put(&[0; 28]);
        Ok(())
    }
}

fn time(valid: u32, set: u32, now: u32, seconds: u64, nanoseconds: u32) -> Timespec {
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match valid {
        valid if valid & set == 0 => at(UTIME_OMIT),
        valid if valid & now != 0 => at(UTIME_NOW),
        _ => Timespec {
            tv_sec: seconds.cast_signed(),
            tv_nsec: i64::from(nanoseconds.min(999_999_999)),
        },
    }
}
