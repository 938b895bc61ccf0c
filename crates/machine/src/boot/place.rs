//! Puts parsed images into guest RAM. All bounds are checked here, against the RAM there is.

use memory::{Gpa, GuestMemory};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::ImageError;
use super::content::Content;
use super::error::Fault;

/// A piece of a kernel: `len` bytes of its file at `at`, then zeroes up to `memory_len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub at: Gpa,
    /// Where in the file.
    pub from: u64,
    pub len: u64,
    pub memory_len: u64,
}

impl Piece {
    /// One past the last byte in memory.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.at.0.saturating_add(self.memory_len)
    }
}

/// Is all of `[at, at + len)` RAM?
pub(super) fn is_ram(memory: &GuestMemory, at: Gpa, len: u64) -> bool {
    let Ok(len) = usize::try_from(len) else {
        return false;
    };
    at.0.checked_add(len as u64).is_some() && memory.ram().check_range(GuestAddress(at.0), len)
}

/// Refuses a range that is not all RAM.
pub(super) fn require_ram(memory: &GuestMemory, at: Gpa, len: u64) -> Result<(), ImageError> {
    if is_ram(memory, at, len) {
        Ok(())
    } else {
        Err(ImageError::NoMemoryThere { at: at.0, len })
    }
}

pub(super) fn write(memory: &GuestMemory, at: Gpa, bytes: &[u8]) -> Result<(), ImageError> {
    let missing = |_| ImageError::NoMemoryThere {
        at: at.0,
        len: bytes.len() as u64,
    };
    memory
        .ram()
        .write_slice(bytes, GuestAddress(at.0))
        .map_err(missing)
}

/// Loads every piece of `file`. Nothing is written unless all of them fit.
pub(super) fn load(
    memory: &GuestMemory,
    file: &impl Content,
    pieces: &[Piece],
) -> Result<(), Fault> {
    for piece in pieces {
        require_ram(memory, piece.at, piece.memory_len)?;
    }
    for piece in pieces {
        file.place(piece.from, piece.len, memory, piece.at)?;
        let from = piece.at.0 + piece.len;
        zero(memory, Gpa(from), piece.end().saturating_sub(from))?;
    }
    Ok(())
}

/// Zeroes what a reboot may have left behind.
pub(super) fn zero(memory: &GuestMemory, at: Gpa, len: u64) -> Result<(), ImageError> {
    static ZEROES: [u8; 0x1_0000] = [0; 0x1_0000];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(ZEROES.len() as u64);
        // `step` is at most 64 KiB.
        write(memory, Gpa(at.0 + done), &ZEROES[..step as usize])?;
        done += step;
    }
    Ok(())
}
