//! What ATA commands ask of a disk. Spec: ATA8-ACS, "Command descriptions"; "NCQ feature set".

use block::{BlockDevice, SECTOR_SIZE};

use super::fis::Request;
use super::identify;
use super::port::{FailedQueued, PortState};

/// In the error register.
pub(super) const ABORTED: u8 = 1 << 2;
pub(super) const NOT_FOUND: u8 = 1 << 4;
pub(super) const UNCORRECTABLE: u8 = 1 << 6;
/// In the device register: addresses are LBA; what is written is to last.
const DEVICE_LBA: u8 = 1 << 6;
const DEVICE_LASTS: u8 = 1 << 7;
/// Geometry that old commands address by.
const HEADS: u64 = 16;
const SECTORS: u64 = 63;
/// The log of queued commands that failed.
const QUEUED_LOG: u64 = 0x10;
const MOST_MULTIPLE: u16 = 16;
/// In DATA SET MANAGEMENT: the content of the ranges does not matter any more.
const TRIM: u16 = 1;
/// Blocks of ranges that it may have.
pub(super) const MOST_TRIM_BLOCKS: u16 = 8;

/// How data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Pio,
    Dma,
    /// In the queue, as this tag.
    Queued(u8),
}

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With this in the count register.
    Done(u16),
    /// These bytes for the host.
    Answer {
        bytes: Vec<u8>,
        way: Way,
    },
    /// In bytes, inside of the disk.
    Read {
        at: u64,
        len: u64,
        way: Way,
    },
    Write {
        at: u64,
        len: u64,
        way: Way,
        /// It is on storage before it is answered.
        lasts: bool,
    },
    /// What was written is to be on storage.
    Flush,
    /// So many bytes of ranges, which are given back.
    Trim {
        len: usize,
    },
    /// The drive says what it is.
    Sign,
    /// With this in the error register.
    Fail(u8),
    FailQueued(u8, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Read,
    Write {
        lasts: bool,
    },
    /// It is only looked whether they are there.
    Verify,
}

impl Request {
    /// Sectors of a 48-bit command.
    fn long(&self) -> (u64, u32) {
        let count = if self.count == 0 {
            65536
        } else {
            self.count.into()
        };
        (self.lba, count)
    }

    /// Of a 28-bit one, or by cylinder, head and sector.
    fn short(&self) -> Option<(u64, u32)> {
        let [count, _] = self.count.to_le_bytes();
        let count = if count == 0 { 256 } else { count.into() };
        let low = self.lba & 0xff_ffff;
        let head = u64::from(self.device & 0xf);
        let first = if self.device & DEVICE_LBA != 0 {
            head << 24 | low
        } else {
            let sector = (low & 0xff).checked_sub(1)?;
            ((low >> 8) * HEADS + head) * SECTORS + sector
        };
        Some((first, count))
    }
}

/// Looks at a command. What it changes of the drive's own is changed.
pub(super) fn run(
    request: &Request,
    disk: &dyn BlockDevice,
    serial: &str,
    state: &mut PortState,
) -> Outcome {
    let long = || Some(request.long());
    let lasts = What::Write { lasts: true };
    let write = What::Write { lasts: false };
    let multiple = |state: &PortState| state.multiple != 0;
    match request.command {
        0x20 | 0x21 => sectors(request.short(), What::Read, Way::Pio, disk),
        0x24 => sectors(long(), What::Read, Way::Pio, disk),
        0x30 | 0x31 => sectors(request.short(), write, Way::Pio, disk),
        0x34 => sectors(long(), write, Way::Pio, disk),
        0xc4 if multiple(state) => sectors(request.short(), What::Read, Way::Pio, disk),
        0x29 if multiple(state) => sectors(long(), What::Read, Way::Pio, disk),
        0xc5 if multiple(state) => sectors(request.short(), write, Way::Pio, disk),
        0x39 if multiple(state) => sectors(long(), write, Way::Pio, disk),
        0xce if multiple(state) => sectors(long(), lasts, Way::Pio, disk),
        0xc8 | 0xc9 => sectors(request.short(), What::Read, Way::Dma, disk),
        0x25 => sectors(long(), What::Read, Way::Dma, disk),
        0xca | 0xcb => sectors(request.short(), write, Way::Dma, disk),
        0x35 => sectors(long(), write, Way::Dma, disk),
        0x3d => sectors(long(), lasts, Way::Dma, disk),
        0x40 | 0x41 => sectors(request.short(), What::Verify, Way::Dma, disk),
        0x42 => sectors(long(), What::Verify, Way::Dma, disk),
        0x60 => queued(request, What::Read, disk),
        0x61 => {
            let lasts = request.device & DEVICE_LASTS != 0;
            queued(request, What::Write { lasts }, disk)
        }
        0x06 => trim(request, disk),
        0x2f => log(request, state, Way::Pio),
        0x47 => log(request, state, Way::Dma),
        0xc6 => set_multiple(request, state),
        0xe7 | 0xea => Outcome::Flush,
        0xec => Outcome::Answer {
            bytes: identify::disk(serial, disk.len() / SECTOR_SIZE, state.multiple),
            way: Way::Pio,
        },
        0xef => set_features(request),
        0x90 => Outcome::Sign,
        // Recalibrate, seek, geometry, power: there is nothing to do.
        0x10..=0x1f | 0x70 | 0x91 | 0xe0..=0xe3 | 0xe6 | 0x94..=0x97 => Outcome::Done(0),
        // It is awake.
        0xe5 | 0x98 => Outcome::Done(0xff),
        _ => Outcome::Fail(ABORTED),
    }
}

fn sectors(range: Option<(u64, u32)>, what: What, way: Way, disk: &dyn BlockDevice) -> Outcome {
    let fail = |error| match way {
        Way::Queued(tag) => Outcome::FailQueued(tag, error),
        Way::Pio | Way::Dma => Outcome::Fail(error),
    };
    let blocks = disk.len() / SECTOR_SIZE;
    let range = range.filter(|(first, count)| {
        let end = first.checked_add((*count).into());
        end.is_some_and(|end| end <= blocks)
    });
    let Some((first, count)) = range else {
        return fail(NOT_FOUND | ABORTED);
    };
    let (at, len) = (first * SECTOR_SIZE, u64::from(count) * SECTOR_SIZE);
    match what {
        What::Read => Outcome::Read { at, len, way },
        What::Verify => Outcome::Done(0),
        What::Write { .. } if disk.read_only() => fail(ABORTED),
        What::Write { lasts } => Outcome::Write {
            at,
            len,
            way,
            lasts,
        },
    }
}

/// Of a queued command the features are how many sectors, and the count has its tag.
fn queued(request: &Request, what: What, disk: &dyn BlockDevice) -> Outcome {
    let [tag, _] = (request.count >> 3 & 0x1f).to_le_bytes();
    let count = if request.features == 0 {
        65536
    } else {
        request.features.into()
    };
    sectors(Some((request.lba, count)), what, Way::Queued(tag), disk)
}

fn trim(request: &Request, disk: &dyn BlockDevice) -> Outcome {
    let blocks = request.count;
    if request.features & TRIM == 0 || blocks == 0 || blocks > MOST_TRIM_BLOCKS || disk.read_only()
    {
        return Outcome::Fail(ABORTED);
    }
    Outcome::Trim {
        len: usize::from(blocks) * 512,
    }
}

fn log(request: &Request, state: &mut PortState, way: Way) -> Outcome {
    let address = request.lba & 0xff;
    // What failed is forgotten by who reads it, not by who asks for too much.
    if request.count != 1 || request.lba >> 8 & 0xff != 0 {
        return Outcome::Fail(ABORTED);
    }
    let mut page = vec![0; 512];
    match address {
        // The directory: its version, and one page of the log of errors.
        0 => {
            page[0] = 1;
            page[0x20] = 1;
        }
        QUEUED_LOG => failed(state.failed.take(), &mut page),
        _ => return Outcome::Fail(ABORTED),
    }
    Outcome::Answer { bytes: page, way }
}

fn failed(failed: Option<FailedQueued>, page: &mut [u8]) {
    const NOT_QUEUED: u8 = 1 << 7;
    match failed {
        None => page[0] = NOT_QUEUED,
        Some(FailedQueued { tag, task }) => {
            page[0] = tag;
            let bytes = task.bytes();
            page[2..14].copy_from_slice(&bytes[2..14]);
        }
    }
    let sum = page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    page[511] = sum.wrapping_neg();
}

fn set_multiple(request: &Request, state: &mut PortState) -> Outcome {
    let wanted = request.count & 0xff;
    if wanted > MOST_MULTIPLE || wanted != 0 && !wanted.is_power_of_two() {
        return Outcome::Fail(ABORTED);
    }
    let [wanted, _] = wanted.to_le_bytes();
    state.multiple = wanted;
    Outcome::Done(0)
}

pub(super) fn set_features(request: &Request) -> Outcome {
    match request.features & 0xff {
        // Transfer modes, caches, power management, reverting to defaults: as it likes.
        0x02 | 0x03 | 0x05 | 0x42 | 0x55 | 0x66 | 0x82 | 0x85 | 0xaa | 0xc2 | 0xcc => {
            Outcome::Done(0)
        }
        _ => Outcome::Fail(ABORTED),
    }
}
