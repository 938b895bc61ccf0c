//! Firmware as a file, and the ROM that it goes into.

use std::path::Path;

use memory::{Gpa, GuestMemory, RamRange};

use crate::MachineError;
use crate::boot::{BootError, SourceFile};
use crate::layout::{HIGH_RAM, KIB, MIB};

/// Flash of PCs comes in blocks of this, in bytes.
const BLOCK: u64 = 4 * KIB;
/// Above the pages that KVM keeps for itself.
const MOST: u64 = 16 * MIB;

/// A firmware image, opened once so that a reset finds the same one.
#[derive(Debug)]
pub(crate) struct FirmwareImage {
    source: SourceFile,
}

impl FirmwareImage {
    /// # Errors
    /// When it cannot be opened, or has a size that no ROM has.
    pub(crate) fn open(path: &Path) -> Result<FirmwareImage, MachineError> {
        let source = SourceFile::open(path)?;
        if !source.len.is_multiple_of(BLOCK) || source.len > MOST {
            return Err(MachineError::FirmwareSize {
                path: path.to_owned(),
                len: source.len,
            });
        }
        Ok(FirmwareImage { source })
    }

    /// Where it goes: it ends where 4 GiB do.
    pub(crate) fn rom(&self) -> RamRange {
        RamRange {
            base: Gpa(HIGH_RAM.0 - self.source.len),
            len: self.source.len,
        }
    }

    /// Puts it into the ROM of `memory`, whatever was there.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub(crate) fn load(&self, memory: &GuestMemory) -> Result<(), MachineError> {
        let rom = self.rom();
        let copied = memory.copy_from(&self.source.file, 0, rom.len, rom.base);
        copied.map_err(|source| {
            MachineError::Boot(BootError::Read {
                path: self.source.path.clone(),
                source,
            })
        })
    }
}

#[cfg(test)]
mod tests;
