//! Commands of a disk. Spec: SPC-3; SBC-3, "Commands for direct access block devices".
#![allow(
    clippy::cast_possible_truncation,
    reason = "fields of answers are parts of larger numbers"
)]

use block::{BlockDevice, SECTOR_SIZE};
use serde::{Deserialize, Serialize};

use super::{Reply, Sense, answer, half, word};

/// Bytes of a command.
pub(crate) const LONGEST: usize = 16;
/// More than this is not moved at once. Bytes.
const MOST_DATA: u64 = 32 << 20;

/// Why the last command failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskSense(pub(crate) Sense);

/// Is it SYNCHRONIZE CACHE, which is an operation of the disk's?
pub(crate) fn is_flush(command: &[u8; LONGEST]) -> bool {
    matches!(command[0], 0x35 | 0x91)
}

/// Does a command, and remembers in `sense` why it failed.
pub(crate) fn run(
    command: [u8; LONGEST],
    disk: &dyn BlockDevice,
    serial: &str,
    sense: &mut DiskSense,
) -> Reply {
    let reply = done(command, disk, serial, sense);
    match &reply {
        Reply::Fail(why) => sense.0 = *why,
        _ => sense.0 = Sense::NOTHING,
    }
    reply
}

fn done(command: [u8; LONGEST], disk: &dyn BlockDevice, serial: &str, sense: &DiskSense) -> Reply {
    let blocks = disk.len() / SECTOR_SIZE;
    let long = u64::from(word(&command, 2)) << 32 | u64::from(word(&command, 6));
    let short = u64::from(word(&command, 2));
    let six = u64::from(word(&command, 0) & 0x1f_ffff);
    let six_count = match command[4] {
        0 => 256,
        count => count.into(),
    };
    match command[0] {
        // TEST UNIT READY, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, VERIFY
        0x00 | 0x1b | 0x1e | 0x2f => Reply::Done,
        0x03 => answer(sense.0.data(), command[4].into()),
        0x12 => inquiry(&command, serial),
        0x1a => mode_sense(&command, command[4].into(), 4, disk.read_only()),
        0x5a => mode_sense(&command, half(&command, 7).into(), 8, disk.read_only()),
        0x23 => format_capacities(&command, blocks),
        0x25 => {
            let last = blocks.saturating_sub(1).min(u32::MAX.into()) as u32;
            answer([last.to_be_bytes(), block_len()].concat(), 8)
        }
        0x9e if command[1] & 0x1f == 0x10 => {
            let mut capacity = blocks.saturating_sub(1).to_be_bytes().to_vec();
            capacity.extend(block_len());
            capacity.resize(32, 0);
            answer(capacity, word(&command, 10) as usize)
        }
        0x08 => read(blocks, six, six_count),
        0x28 => read(blocks, short, half(&command, 7).into()),
        0xa8 => read(blocks, short, word(&command, 6)),
        0x88 => read(blocks, long, word(&command, 10)),
        0x0a => write(disk, blocks, six, six_count),
        0x2a => write(disk, blocks, short, half(&command, 7).into()),
        0xaa => write(disk, blocks, short, word(&command, 6)),
        0x8a => write(disk, blocks, long, word(&command, 10)),
        _ if is_flush(&command) => match disk.flush() {
            Ok(()) => Reply::Done,
            Err(_) => Reply::Fail(Sense::WRITE_ERROR),
        },
        // REPORT LUNS: there is number 0.
        0xa0 => {
            let mut units = vec![0; 16];
            units[3] = 8;
            answer(units, word(&command, 6) as usize)
        }
        _ => Reply::Fail(Sense::NO_SUCH_COMMAND),
    }
}

fn block_len() -> [u8; 4] {
    (SECTOR_SIZE as u32).to_be_bytes()
}

/// So many blocks as bytes of the disk.
fn range(blocks: u64, first: u64, count: u32) -> Result<(u64, u64), Sense> {
    let len = u64::from(count) * SECTOR_SIZE;
    let end = first.checked_add(count.into());
    if end.is_none_or(|end| end > blocks) {
        return Err(Sense::OUT_OF_RANGE);
    }
    if len > MOST_DATA {
        return Err(Sense::INVALID_FIELD);
    }
    Ok((first * SECTOR_SIZE, len))
}

fn read(blocks: u64, first: u64, count: u32) -> Reply {
    match range(blocks, first, count) {
        Ok((_, 0)) => Reply::Done,
        Ok((at, len)) => Reply::Read { at, len },
        Err(sense) => Reply::Fail(sense),
    }
}

fn write(disk: &dyn BlockDevice, blocks: u64, first: u64, count: u32) -> Reply {
    if disk.read_only() {
        return Reply::Fail(Sense::WRITE_PROTECTED);
    }
    match range(blocks, first, count) {
        Ok((_, 0)) => Reply::Done,
        Ok((at, len)) => Reply::Write { at, len },
        Err(sense) => Reply::Fail(sense),
    }
}

/// What it is, or a page of its vital data.
fn inquiry(command: &[u8], serial: &str) -> Reply {
    const VITAL: u8 = 1;
    let room = usize::from(half(command, 3));
    if command[1] & VITAL == 0 {
        // A disk that stays, of SPC-3; 31 bytes follow.
        let mut disk = vec![0x00, 0x00, 5, 2, 31, 0, 0, 0];
        disk.extend(b"Innkeepr");
        disk.extend(b"USB disk        ");
        disk.extend(b"1   ");
        return answer(disk, room);
    }
    let page = |body: &[u8]| {
        let mut page = vec![0, command[2], 0, body.len() as u8];
        page.extend(body);
        page
    };
    let serial: Vec<u8> = serial.bytes().take(20).collect();
    match command[2] {
        0x00 => answer(page(&[0x00, 0x80]), room),
        0x80 => answer(page(&serial), room),
        _ => Reply::Fail(Sense::INVALID_FIELD),
    }
}

/// The caching page: writes are cached. And whether it can be written to.
fn mode_sense(command: &[u8], room: usize, header: usize, read_only: bool) -> Reply {
    const PROTECTED: u8 = 1 << 7;
    const CACHING: u8 = 0x08;
    let wanted = command[2] & 0x3f;
    let mut body = Vec::new();
    if wanted == CACHING || wanted == 0x3f {
        body = vec![0; 20];
        body[..3].copy_from_slice(&[CACHING, 18, 1 << 2]);
    } else if wanted != 0 {
        return Reply::Fail(Sense::INVALID_FIELD);
    }
    let mut pages = vec![0; header];
    let device = if read_only { PROTECTED } else { 0 };
    if header == 4 {
        pages[0] = (body.len() + 3) as u8;
        pages[2] = device;
    } else {
        pages[1] = (body.len() + 6) as u8;
        pages[3] = device;
    }
    pages.extend(body);
    answer(pages, room)
}

/// What Windows asks before it believes in a medium.
fn format_capacities(command: &[u8], blocks: u64) -> Reply {
    const FORMATTED: u8 = 2;
    let blocks = blocks.min(u32::MAX.into()) as u32;
    let mut list = vec![0, 0, 0, 8];
    list.extend(blocks.to_be_bytes());
    list.extend(block_len());
    list[8] = FORMATTED;
    answer(list, half(command, 7).into())
}
