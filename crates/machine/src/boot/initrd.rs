//! The initial RAM disk: one or more files laid one behind the other.
//!
//! Each part is padded to four bytes, because the kernel looks for the next cpio archive at such an
//! address. Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.

use std::ops::Range;

use memory::{Gpa, GuestMemory, PAGE_SIZE};

use super::content::Content;
use super::error::Fault;
use super::place::zero;
use super::{BootError, ImageError, SourceFile};

const ALIGN: u64 = 4;

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

/// All parts with their padding.
pub(super) fn joined(parts: Vec<Vec<u8>>) -> Vec<u8> {
    let align = usize::try_from(ALIGN).unwrap_or(1);
    parts.into_iter().fold(Vec::new(), |mut all, part| {
        all.extend(part);
        all.resize(all.len().next_multiple_of(align), 0);
        all
    })
}

/// Copies one file to `at`.
pub(super) fn load_file(memory: &GuestMemory, part: &SourceFile, at: Gpa) -> Result<(), BootError> {
    part.place(0, part.len, memory, at)
        .map_err(|fault| match fault {
            Fault::Image(source) => part.image_error(source),
            Fault::File(error) => error,
        })
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
