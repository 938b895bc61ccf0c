//! Commands of a disk. Spec: ATA/ATAPI-6, "Command descriptions".

use super::Drive;
use super::channel::Channel;
use super::identify;
use super::state::{Task, error};
use super::transfer::{MOST_MULTIPLE, What};

const DEVICE_LBA: u8 = 1 << 6;
/// Geometry that old commands address by: as large as its registers allow.
pub(super) const HEADS: u64 = 16;
pub(super) const SECTORS: u64 = 63;

/// Where a command's data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    count: u32,
}

impl Task {
    /// Of a 28-bit command, or by cylinder, head and sector.
    fn range(&self) -> Option<Range> {
        let count = if self.count == 0 {
            256
        } else {
            self.count.into()
        };
        let [low, middle, high] = self.address;
        let head = self.device & 0xf;
        let first = if self.device & DEVICE_LBA != 0 {
            u32::from_le_bytes([low, middle, high, head]).into()
        } else {
            let cylinder = u64::from(u16::from_le_bytes([middle, high]));
            let sector = u64::from(low).checked_sub(1)?;
            (cylinder * HEADS + u64::from(head)) * SECTORS + sector
        };
        Some(Range { first, count })
    }

    /// Of a 48-bit command.
    fn long_range(&self) -> Range {
        let count = u16::from_le_bytes([self.count, self.previous_count]);
        let ([a, b, c], [d, e, f]) = (self.address, self.previous_address);
        Range {
            first: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            count: if count == 0 { 65536 } else { count.into() },
        }
    }
}

/// How a command moves its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Single,
    Multiple,
    Dma,
    /// Not at all: it is only checked.
    Verify,
}

impl Channel {
    pub(super) fn disk_command(&mut self, command: u8) {
        match command {
            0x20 | 0x21 => self.sectors(false, false, Way::Single),
            0x24 => self.sectors(true, false, Way::Single),
            0x30 | 0x31 => self.sectors(false, true, Way::Single),
            0x34 => self.sectors(true, true, Way::Single),
            0xc4 => self.sectors(false, false, Way::Multiple),
            0x29 => self.sectors(true, false, Way::Multiple),
            0xc5 => self.sectors(false, true, Way::Multiple),
            0x39 => self.sectors(true, true, Way::Multiple),
            0xc8 | 0xc9 => self.sectors(false, false, Way::Dma),
            0x25 => self.sectors(true, false, Way::Dma),
            0xca | 0xcb => self.sectors(false, true, Way::Dma),
            0x35 => self.sectors(true, true, Way::Dma),
            0x40 | 0x41 => self.sectors(false, false, Way::Verify),
            0x42 => self.sectors(true, false, Way::Verify),
            0xc6 => self.set_multiple(),
            0xe7 | 0xea => self.begin(What::Flush, false),
            0xec => self.identify(),
            0xef => self.set_features(),
            0xf8 => self.native_maximum(),
            0x90 => self.diagnose(),
            // Recalibrate, seek, geometry, power: there is nothing to do.
            0x10..=0x1f | 0x70 | 0x91 | 0xe0..=0xe3 | 0x94..=0x97 => self.succeed(),
            0xe5 | 0x98 => self.power_mode(),
            _ => self.fail(error::ABORTED),
        }
    }

    fn sectors(&mut self, long: bool, write: bool, way: Way) {
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let range = if long {
            Some(state.task.long_range())
        } else {
            state.task.range()
        };
        let (blocks, multiple) = (drive.blocks(), state.multiple);
        let read_only = drive.medium().is_none_or(|disk| disk.read_only());
        let range = range.filter(|range| {
            range
                .first
                .checked_add(range.count.into())
                .is_some_and(|end| end <= blocks)
        });
        let Some(Range { first, count }) = range else {
            return self.fail(error::ID_NOT_FOUND | error::ABORTED);
        };
        if write && read_only || way == Way::Multiple && multiple == 0 {
            return self.fail(error::ABORTED);
        }
        let block = match way {
            Way::Verify => return self.succeed(),
            Way::Multiple => multiple.into(),
            Way::Single | Way::Dma => 1,
        };
        let (next, left) = (first, count);
        let what = match way {
            _ if !write => What::Read { next, left, block },
            Way::Dma => What::Write { next, left, block },
            _ => What::FirstWrite { next, left, block },
        };
        self.begin(what, way == Way::Dma);
    }

    fn set_multiple(&mut self) {
        let Some((_, state)) = self.selected() else {
            return;
        };
        let wanted = state.task.count;
        if wanted > MOST_MULTIPLE || wanted != 0 && !wanted.is_power_of_two() {
            return self.fail(error::ABORTED);
        }
        state.multiple = wanted;
        self.succeed();
    }

    /// One operation of the disk's.
    pub(super) fn flush(&mut self) {
        let Some((drive, _)) = self.selected() else {
            return;
        };
        let flushed = drive.medium().is_none_or(|disk| disk.flush().is_ok());
        self.pace.spend(0);
        if flushed {
            self.succeed();
        } else {
            self.fail(error::ABORTED);
        }
    }

    fn identify(&mut self) {
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let serial = match drive {
            Drive::Disk { serial, .. } => serial.as_str(),
            Drive::Cd(_) => "",
        };
        let answer = identify::disk(serial, drive.blocks(), state.multiple);
        self.begin_answer(answer);
    }

    pub(super) fn set_features(&mut self) {
        let features = self.selected().map_or(0, |(_, state)| state.task.features);
        match features {
            // Transfer modes, caches, power management, reverting to defaults: as it likes.
            0x02 | 0x03 | 0x05 | 0x42 | 0x55 | 0x66 | 0x82 | 0x85 | 0xaa | 0xc2 | 0xcc => {
                self.succeed();
            }
            _ => self.fail(error::ABORTED),
        }
    }

    fn native_maximum(&mut self) {
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let last = drive.blocks().saturating_sub(1).min(0x0fff_ffff);
        let [low, middle, high, head, ..] = last.to_le_bytes();
        state.task.address = [low, middle, high];
        state.task.device = state.task.device & 0xf0 | head;
        self.succeed();
    }

    fn power_mode(&mut self) {
        const ACTIVE: u8 = 0xff;
        if let Some((_, state)) = self.selected() {
            state.task.count = ACTIVE;
        }
        self.succeed();
    }

    /// Both drives do it, and show their signatures.
    pub(super) fn diagnose(&mut self) {
        for unit in 0..self.drives.len() {
            self.sign(unit);
        }
        self.interrupt();
    }
}
