//! The initial RAM disk: one or more files laid one behind the other.
//!
//! Each part is padded to four bytes, because the kernel looks for the next cpio archive at such an
//! address. Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use memory::{Gpa, GuestMemory, PAGE_SIZE};

use super::place::{require_ram, write, zero};
use super::{BootError, ImageError, SourceFile};

const ALIGN: u64 = 4;
const CHUNK: usize = 1 << 20;

/// Parts of one initial RAM disk, open for reading.
#[derive(Debug)]
pub(super) struct Initrd<'a> {
    parts: &'a [SourceFile],
}

impl<'a> Initrd<'a> {
    pub(super) fn new(parts: &'a [SourceFile]) -> Initrd<'a> {
        Initrd { parts }
    }

    pub(super) fn parts(&self) -> &'a [SourceFile] {
        self.parts
    }

    /// Bytes of all parts with their padding.
    pub(super) fn len(&self) -> u64 {
        let padded = |part: &SourceFile| part.len.next_multiple_of(ALIGN);
        self.parts.iter().map(padded).fold(0, u64::saturating_add)
    }

    /// Copies all parts to `at`, which must have room for [`Initrd::len`] bytes.
    pub(super) fn load(&self, memory: &GuestMemory, at: Gpa) -> Result<(), BootError> {
        let mut at = at.0;
        for part in self.parts {
            load_file(memory, part, Gpa(at))?;
            let padded = part.len.next_multiple_of(ALIGN);
            let pad = zero(memory, Gpa(at + part.len), padded - part.len);
            pad.map_err(|source| part.image_error(source))?;
            at += padded;
        }
        Ok(())
    }
}

/// Copies one file to `at`.
pub(super) fn load_file(memory: &GuestMemory, part: &SourceFile, at: Gpa) -> Result<(), BootError> {
    require_ram(memory, at, part.len).map_err(|source| part.image_error(source))?;
    let mut file: &File = &part.file;
    let failed = |source| BootError::Read {
        path: part.path.clone(),
        source,
    };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < part.len {
        // At most a chunk.
        let step = (part.len - done).min(CHUNK as u64) as usize;
        file.read_exact(&mut buffer[..step]).map_err(failed)?;
        let placed = write(memory, Gpa(at.0 + done), &buffer[..step]);
        placed.map_err(|source| part.image_error(source))?;
        done += step as u64;
    }
    Ok(())
}

/// The highest page-aligned place for `len` bytes in `room`.
pub(super) fn place_high(len: u64, room: Range<u64>) -> Result<u64, ImageError> {
    if len == 0 {
        return Ok(0);
    }
    let too_large = ImageError::InitrdTooLarge {
        len,
        limit: room.end,
    };
    let at = room.end.checked_sub(len).map(|at| at & !(PAGE_SIZE - 1));
    at.filter(|&at| at >= room.start).ok_or(too_large)
}
