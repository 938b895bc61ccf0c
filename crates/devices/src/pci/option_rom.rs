//! What firmware runs of a card's own: an expansion ROM as a file has it.
//! Spec: PCI Firmware Specification 3.0, "PCI Expansion ROMs"; UEFI, "PCI Option ROMs".

use thiserror::Error;

use crate::pci::ConfigSpace;

const MAX_ROM: usize = 1 << 20;
const LEAST_WINDOW: usize = 0x800;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionRomError {
    #[error("an option ROM of {len} bytes is longer than the {MAX_ROM} that a card has room for")]
    Long { len: usize },
    #[error("it is no option ROM: it does not begin with 55h AAh")]
    Signature,
}

/// The bytes, or none.
#[derive(Debug, Default, Clone)]
pub struct OptionRom {
    bytes: Vec<u8>,
}

impl OptionRom {
    /// # Errors
    /// When it is no option ROM.
    pub fn new(bytes: Vec<u8>) -> Result<OptionRom, OptionRomError> {
        if bytes.len() > MAX_ROM {
            return Err(OptionRomError::Long { len: bytes.len() });
        }
        if !bytes.starts_with(&[0x55, 0xaa]) {
            return Err(OptionRomError::Signature);
        }
        Ok(OptionRom { bytes })
    }

    /// Declares its register, if there is a ROM.
    pub(crate) fn declare(&self, config: ConfigSpace) -> ConfigSpace {
        if self.bytes.is_empty() {
            return config;
        }
        let window = self.bytes.len().next_power_of_two().max(LEAST_WINDOW);
        config.with_expansion_rom(window as u64)
    }

    /// Beyond its end there are zeros.
    pub(crate) fn read(&self, offset: u64, size: u8) -> u64 {
        let mut value = [0; 8];
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let len = rest.len().min(usize::from(size)).min(value.len());
        value[..len].copy_from_slice(&rest[..len]);
        u64::from_le_bytes(value)
    }
}
