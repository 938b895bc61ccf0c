//! What a drive reads and writes.

use std::io;
use std::sync::Arc;

use block::BlockDevice;

use super::Drive;

pub(super) const SECTOR: u64 = 512;
/// Of a CD-ROM.
pub(super) const FRAME: u64 = 2048;

impl Drive {
    /// What is in it.
    pub(super) fn medium(&self) -> Option<&Arc<dyn BlockDevice>> {
        match self {
            Drive::Disk { disk, .. } => Some(disk),
            Drive::Cd(disc) => disc.as_ref(),
        }
    }

    pub(super) fn is_cd(&self) -> bool {
        matches!(self, Drive::Cd(_))
    }

    /// Sectors, or frames of a CD-ROM.
    pub(super) fn blocks(&self) -> u64 {
        let unit = if self.is_cd() { FRAME } else { SECTOR };
        self.medium().map_or(0, |medium| medium.len() / unit)
    }

    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let medium = self.medium().ok_or(io::ErrorKind::NotFound)?;
        medium.read_at(into, offset)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let medium = self.medium().ok_or(io::ErrorKind::NotFound)?;
        medium.write_at(bytes, offset)
    }
}
