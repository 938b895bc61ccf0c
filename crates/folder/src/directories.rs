//! Directories, read piece by piece.

use std::ffi::CString;
use std::mem::MaybeUninit;

use rustix::fs::{FileType, OFlags, RawDir, SeekFrom, seek};
use rustix::io::Errno;

use crate::files::opened;
use crate::nodes::Identity;
use crate::server::Folder;
use crate::tree::stat_in;
use crate::wire::{Answer, MAX_DATA, Request, check_name};

/// Bytes of entries that are taken from the host at a time.
const PIECE: usize = 32 << 10;
/// `struct fuse_dirent` without its name, and `struct fuse_entry_out`.
const ENTRY_LEN: usize = 24;
const PLUS_LEN: usize = 128;

impl Folder {
    pub(crate) fn open_directory(
        &mut self,
        node: u64,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.tree.open(&self.nodes, node, flags)?;
        let handle = self.handles.add(directory, node, flags)?;
        opened(handle, answer);
        Ok(())
    }

    /// `struct fuse_read_in`. With `plus`, the guest is told of each entry as by a lookup.
    pub(crate) fn read_directory(
        &mut self,
        node: u64,
        mut request: Request<'_>,
        answer: &mut Answer<'_>,
        plus: bool,
    ) -> Result<(), Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        let directory = self.handles.file(handle)?.try_clone_to_owned();
        let directory = directory.map_err(|_| Errno::MFILE)?;
        let most = answer.len() + (size as usize).min(MAX_DATA).min(answer.room());
        seek(&directory, SeekFrom::Start(offset))?;
        let mut buffer = vec![MaybeUninit::uninit(); PIECE];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let len = name.count_bytes();
            let padded = (ENTRY_LEN + len).next_multiple_of(8);
            if answer.len() + padded + if plus { PLUS_LEN } else { 0 } > most {
                break;
            }
            if plus {
                self.tell_beside(node, &directory, name.to_owned(), answer);
            }
            answer.u64(entry.ino());
            answer.u64(entry.next_entry_cookie());
            answer.u32(u32::try_from(len).unwrap_or(u32::MAX));
            answer.u32(code(entry.file_type()));
            answer.put(name.to_bytes());
            answer.put(&[0; 8][..padded - ENTRY_LEN - len]);
        }
        Ok(())
    }

    /// As a lookup; nothing of what may be there no more, and of the directory itself.
    fn tell_beside(
        &mut self,
        parent: u64,
        directory: &std::os::fd::OwnedFd,
        name: CString,
        answer: &mut Answer<'_>,
    ) {
        let found = check_name(name.to_bytes())
            .and_then(|()| stat_in(directory, &name))
            .and_then(|stat| {
                let number = self.nodes.tell(parent, name, Identity::of(&stat))?;
                Ok((number, stat))
            });
        match found {
            Ok((number, stat)) => self.entry(number, &stat, answer),
            Err(_) => answer.put(&[0; PLUS_LEN]),
        }
    }
}

/// As `d_type` has it.
fn code(kind: FileType) -> u32 {
    match kind {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        FileType::Unknown => 0,
    }
}
