//! Data on its way between a drive and the guest, a block at a time.

use serde::{Deserialize, Serialize};

use super::Drive;
use super::medium::SECTOR;

/// The largest block: READ MULTIPLE's, or what a packet command moves before it asks again. Bytes.
pub(super) const LARGEST_BLOCK: usize = 0x1_0000;
/// Bytes of a packet command.
pub(super) const PACKET_LEN: usize = 12;
/// The most that READ MULTIPLE may be set to. Sectors.
pub(super) const MOST_MULTIPLE: u8 = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transfer {
    /// Which drive's.
    pub(super) unit: u8,
    pub(super) dma: bool,
    pub(super) what: What,
    /// The block that the guest is taking or giving.
    pub(super) buffer: Vec<u8>,
    pub(super) position: u32,
}

/// What comes after the block in the buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// Sectors of a disk, `block` at a time: from `next` on, `left` more.
    Read { next: u64, left: u32, block: u32 },
    /// Likewise; the buffer goes to `next`, and is part of what is `left`.
    Write { next: u64, left: u32, block: u32 },
    /// An answer that fits into one block.
    Answer,
    /// A packet command is awaited.
    Packet,
    /// The answer to one, `limit` bytes at a time.
    PacketAnswer { rest: Vec<u8>, limit: u32 },
    /// A disc from byte `next` on, `left` bytes, `limit` at a time.
    PacketRead { next: u64, left: u64, limit: u32 },
    /// A write whose first block has not been asked for.
    FirstWrite { next: u64, left: u32, block: u32 },
    /// What was written is to be on storage, once it may pass.
    Flush,
}

/// The medium could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

impl Transfer {
    pub(super) fn new(unit: u8, dma: bool, what: What) -> Transfer {
        Transfer {
            unit,
            dma,
            what,
            buffer: Vec::new(),
            position: 0,
        }
    }

    /// Is data moving to the guest?
    pub(super) fn is_inward(&self) -> bool {
        matches!(
            self.what,
            What::Read { .. } | What::Answer | What::PacketAnswer { .. } | What::PacketRead { .. }
        )
    }

    /// Is it of a disk or a disc, rather than what a drive says?
    pub(super) fn is_of_medium(&self) -> bool {
        matches!(
            self.what,
            What::Read { .. }
                | What::Write { .. }
                | What::PacketRead { .. }
                | What::FirstWrite { .. }
                | What::Flush
        )
    }

    /// Has it to do with a medium what it has not done?
    pub(super) fn can_wait(&self) -> bool {
        self.is_of_medium() && (self.left() > 0 || self.what == What::Flush)
    }

    /// The drive asks for the first block that it is to write. Answers whether it does so now.
    pub(super) fn begin_write(&mut self) -> bool {
        let What::FirstWrite { next, left, block } = self.what else {
            return false;
        };
        self.what = What::Write { next, left, block };
        true
    }

    /// Does a packet command move it?
    pub(super) fn is_packet(&self) -> bool {
        matches!(
            self.what,
            What::Packet | What::PacketAnswer { .. } | What::PacketRead { .. }
        )
    }

    /// Bytes that have not been in the buffer yet. Those to be written count until they are.
    pub(super) fn left(&self) -> u64 {
        match &self.what {
            What::Read { left, .. } | What::Write { left, .. } | What::FirstWrite { left, .. } => {
                u64::from(*left) * SECTOR
            }
            What::Answer | What::Packet | What::Flush => 0,
            What::PacketAnswer { rest, .. } => rest.len() as u64,
            What::PacketRead { left, .. } => *left,
        }
    }

    /// How many bytes the next block has, if the guest takes as many as the command allows.
    fn block_len(&self) -> usize {
        let most = match &self.what {
            What::Read { block, .. }
            | What::Write { block, .. }
            | What::FirstWrite { block, .. } => u64::from(*block) * SECTOR,
            What::PacketAnswer { limit, .. } | What::PacketRead { limit, .. } => (*limit).into(),
            What::Answer | What::Packet | What::Flush => 0,
        };
        usize::try_from(most.min(self.left())).map_or(LARGEST_BLOCK, |len| len.min(LARGEST_BLOCK))
    }

    /// Makes the next block the buffer: read from the drive, or empty for the guest to fill.
    pub(super) fn next_block(&mut self, drive: &Drive) -> Result<(), Failed> {
        let mut buffer = vec![0; self.block_len()];
        if self.is_inward() {
            self.take(drive, &mut buffer)?;
        }
        self.buffer = buffer;
        self.position = 0;
        Ok(())
    }

    /// The next bytes, whole sectors of a disk. No more than are left.
    pub(super) fn take(&mut self, drive: &Drive, into: &mut [u8]) -> Result<(), Failed> {
        let len = into.len() as u64;
        match &mut self.what {
            What::Read { next, left, .. } => {
                drive
                    .read(into, next.saturating_mul(SECTOR))
                    .map_err(|_| Failed)?;
                *next = next.saturating_add(len / SECTOR);
                *left = left.saturating_sub(u32::try_from(len / SECTOR).unwrap_or(u32::MAX));
            }
            What::PacketAnswer { rest, .. } => {
                let count = rest.len().min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                rest.drain(..count);
            }
            What::PacketRead { next, left, .. } => {
                drive.read(into, *next).map_err(|_| Failed)?;
                *next = next.saturating_add(len);
                *left = left.saturating_sub(len);
            }
            What::Write { .. }
            | What::FirstWrite { .. }
            | What::Answer
            | What::Packet
            | What::Flush => {}
        }
        Ok(())
    }

    /// Writes whole sectors to the disk.
    pub(super) fn give(&mut self, drive: &Drive, bytes: &[u8]) -> Result<(), Failed> {
        if let What::Write { next, left, .. } = &mut self.what {
            drive
                .write(bytes, next.saturating_mul(SECTOR))
                .map_err(|_| Failed)?;
            let sectors = bytes.len() as u64 / SECTOR;
            *next = next.saturating_add(sectors);
            *left = left.saturating_sub(u32::try_from(sectors).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Could a drive of this kind be at it? States come from outside.
    pub(super) fn fits(&self, drive: &Drive) -> bool {
        let cd = match &self.what {
            What::Answer => None,
            _ => Some(self.is_packet()),
        };
        let command = self.what != What::Packet || self.buffer.len() == PACKET_LEN;
        let dma = !self.dma || !matches!(self.what, What::FirstWrite { .. } | What::Flush);
        command
            && dma
            && cd.is_none_or(|cd| cd == drive.is_cd())
            && self.buffer.len() <= LARGEST_BLOCK
            // Where there is no block yet, older states have the end of the last one.
            && (self.position as usize <= self.buffer.len() || self.buffer.is_empty())
            && self.left() <= 65536 * SECTOR.max(super::medium::FRAME)
    }
}
