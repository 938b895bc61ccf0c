//! The header extension that leads to the bitmaps: finding it, or making room for it.
//! Spec: QEMU, docs/interop/qcow2.txt, "Header extensions", "Bitmaps extension".
//!
//! An image that we make has room for it from the beginning, in an extension of a kind that others pass over.
//! In others' images it goes behind the last extension, before which the backing file's name may have to move.
//! Each step leaves a header that makes sense, whatever part of it reaches the disk.

use std::io;

use crate::qcow2::bitmap_directory::DirectoryPlace;
use crate::qcow2::header::{
    AT_BACKING, EXTENSION_BITMAPS, EXTENSION_END, EXTENSION_ROOM, MAX_BACKING_NAME,
};
use crate::qcow2::tables::Tables;

/// Bytes of the extension's data, and of all of it.
pub(super) const DATA: usize = 24;
const WHOLE: usize = 8 + DATA;

impl Tables {
    /// Where in the file the extension is, or can be.
    ///
    /// # Errors
    /// When the header has no room for it, or the host cannot read or write.
    pub(super) fn bitmap_slot(&mut self) -> io::Result<u64> {
        let cluster = usize::try_from(self.layout.cluster()).unwrap_or(0);
        let mut bytes = vec![0; cluster];
        self.storage.read_at(&mut bytes, 0)?;
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            bytes.try_into().ok().map(u32::from_be_bytes)
        };
        let mut at = self.fixed.header_len as usize;
        loop {
            let (Some(kind), Some(len)) = (word(at), word(at + 4)) else {
                return Err(no_room());
            };
            match kind {
                EXTENSION_END => break,
                EXTENSION_BITMAPS | EXTENSION_ROOM if len as usize == DATA => return Ok(at as u64),
                _ => at += 8 + (len as usize).next_multiple_of(8),
            }
        }
        // With the mark of the end behind it.
        let wanted = at..at + WHOLE + 8;
        if self.fixed.backing_offset != 0 {
            let name = usize::try_from(self.fixed.backing_offset).map_err(|_| no_room())?;
            let end = name + self.fixed.backing_len as usize;
            if name < wanted.end && end > wanted.start {
                let moved = cluster
                    .checked_sub(MAX_BACKING_NAME + 1)
                    .filter(|&moved| moved >= end.max(wanted.end))
                    .filter(|&moved| bytes[moved..].iter().all(|&byte| byte == 0));
                let moved = moved.ok_or_else(no_room)?;
                self.move_backing_name(&bytes[name..end], moved)?;
                bytes[name..end].fill(0);
            }
        }
        let room = bytes.get(wanted).ok_or_else(no_room)?;
        if room.iter().any(|&byte| byte != 0) {
            return Err(no_room());
        }
        Ok(at as u64)
    }

    fn move_backing_name(&mut self, name: &[u8], to: usize) -> io::Result<()> {
        self.storage.write_at(name, to as u64)?;
        self.sync()?;
        let from = self.fixed.backing_offset;
        self.storage
            .write_at(&(to as u64).to_be_bytes(), AT_BACKING)?;
        self.fixed.backing_offset = to as u64;
        self.sync()?;
        self.storage.write_at(&vec![0; name.len()], from)?;
        self.sync()
    }

    /// Writes the extension, or with `None` one that leads nowhere. Nobody goes by it meanwhile.
    pub(super) fn write_bitmap_slot(
        &mut self,
        at: u64,
        place: Option<DirectoryPlace>,
    ) -> io::Result<()> {
        let kind = match place {
            Some(_) => EXTENSION_BITMAPS,
            None => EXTENSION_ROOM,
        };
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(DATA).unwrap_or(0).to_be_bytes());
        bytes.extend(place.map_or_else(|| vec![0; DATA], DirectoryPlace::to_bytes));
        self.storage.write_at(&bytes, at)
    }
}

fn no_room() -> io::Error {
    io::Error::other("its header has no room for bitmaps")
}
