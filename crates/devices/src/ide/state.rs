//! All that a channel remembers.

use serde::{Deserialize, Serialize};

use super::transfer::Transfer;
use crate::scsi::Tray;

/// Status register. Spec: ATA/ATAPI-6, "Status register".
pub(super) mod status {
    pub(in crate::ide) const ERROR: u8 = 1 << 0;
    pub(in crate::ide) const DATA_REQUEST: u8 = 1 << 3;
    pub(in crate::ide) const SEEK_COMPLETE: u8 = 1 << 4;
    pub(in crate::ide) const READY: u8 = 1 << 6;
    pub(in crate::ide) const BUSY: u8 = 1 << 7;
}

/// Error register.
pub(super) mod error {
    pub(in crate::ide) const ABORTED: u8 = 1 << 2;
    pub(in crate::ide) const ID_NOT_FOUND: u8 = 1 << 4;
    pub(in crate::ide) const UNCORRECTABLE: u8 = 1 << 6;
    /// After a reset: the drive found itself well.
    pub(in crate::ide) const DIAGNOSED: u8 = 1;
}

/// Registers that a command is made of. 48-bit commands have two bytes in each, of which `previous` has what
/// was written before.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) features: u8,
    pub(super) count: u8,
    /// Low, middle, high byte of the address.
    pub(super) address: [u8; 3],
    pub(super) previous_count: u8,
    pub(super) previous_address: [u8; 3],
    /// Bit 6: addresses are LBA. Bit 4: the drive.
    pub(super) device: u8,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DriveState {
    pub(super) task: Task,
    pub(super) status: u8,
    pub(super) error: u8,
    /// Sectors that are transferred at once by READ MULTIPLE.
    pub(super) multiple: u8,
    /// Of a CD-ROM drive.
    pub(super) tray: Tray,
}

/// The DMA engine. Spec: PIIX3 datasheet, "Bus Master IDE I/O Registers".
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MasterState {
    pub(super) command: u8,
    pub(super) status: u8,
    /// Address of the table of physical regions.
    pub(super) table: u32,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChannelState {
    pub(super) drives: [DriveState; 2],
    /// Which of the two is meant.
    pub(super) selected: u8,
    /// Device control register.
    pub(super) control: u8,
    pub(super) interrupt: bool,
    pub(super) transfer: Option<Transfer>,
    pub(super) master: MasterState,
}
