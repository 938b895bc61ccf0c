//! Firmware as files, and the ROM that they go into.

use std::path::Path;

use memory::{Gpa, GuestMemory, RamRange};

use super::variables::Variables;
use crate::MachineError;
use crate::boot::{BootError, SourceFile};
use crate::config::FirmwareConfig;
use crate::layout::{HIGH_RAM, KIB, MIB};

/// Flash of PCs comes in blocks of this, in bytes.
const BLOCK: u64 = 4 * KIB;
/// Above the pages that KVM keeps for itself.
const MOST: u64 = 16 * MIB;

/// A firmware image, opened once so that a reset finds the same one.
#[derive(Debug)]
pub(crate) struct FirmwareImage {
    code: SourceFile,
    /// Below the code.
    variables: Option<Variables>,
    loaded: bool,
}

impl FirmwareImage {
    /// # Errors
    /// When a file cannot be opened, or has a size that no ROM has.
    pub(crate) fn open(config: &FirmwareConfig) -> Result<FirmwareImage, MachineError> {
        let code = open_code(&config.image)?;
        let variables = config.variables.as_ref().map(Variables::open).transpose()?;
        let image = FirmwareImage {
            code,
            variables,
            loaded: false,
        };
        let len = image.rom().len;
        if len > MOST {
            let path = config.image.clone();
            return Err(MachineError::FirmwareSize { path, len });
        }
        Ok(image)
    }

    pub(crate) fn variables(&self) -> Option<&Variables> {
        self.variables.as_ref()
    }

    /// Where all of it goes: it ends where 4 GiB do.
    pub(crate) fn rom(&self) -> RamRange {
        let variables = self.variables.as_ref().map_or(0, Variables::len);
        let len = self.code.len.saturating_add(variables);
        RamRange {
            base: Gpa(HIGH_RAM.0.saturating_sub(len)),
            len,
        }
    }

    /// Puts it into the ROM of `memory`, whatever was there. Variables that are in no file stay as the guest
    /// wrote them.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub(crate) fn load(&mut self, memory: &GuestMemory) -> Result<(), MachineError> {
        let rom = self.rom();
        let code_at = Gpa(HIGH_RAM.0 - self.code.len);
        let mut copied = memory.copy_from(&self.code.file, 0, self.code.len, code_at);
        let variables = self.variables.as_ref();
        if let Some(variables) = variables.filter(|it| it.kept() || !self.loaded) {
            let read = memory.copy_from(variables.file(), 0, variables.len(), rom.base);
            copied = copied.and(read);
        }
        self.loaded = true;
        copied.map_err(|source| {
            MachineError::Boot(BootError::Read {
                path: self.code.path.clone(),
                source,
            })
        })
    }
}

fn open_code(path: &Path) -> Result<SourceFile, MachineError> {
    let code = SourceFile::open(path)?;
    if !code.len.is_multiple_of(BLOCK) || code.len > MOST {
        return Err(MachineError::FirmwareSize {
            path: path.to_owned(),
            len: code.len,
        });
    }
    Ok(code)
}

#[cfg(test)]
mod tests;
