//! vhdx, the format of Hyper-V: two headers, regions, metadata, a table of blocks.
//! Spec: Microsoft, [MS-VHDX].

use std::io;

use super::crc32c::crc32c;
use super::{Map, Run, check_inside, le32, le64, read_bytes};
use crate::storage::Storage;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const HEADER_LEN: u64 = 4 * KIB;
const REGION_TABLES: [u64; 2] = [192 * KIB, 256 * KIB];
const REGION_TABLE_LEN: u64 = 64 * KIB;
const MAX_ENTRIES: u32 = 2047;
/// Identifiers, as bytes lie in the file.
const BAT: [u8; 16] = id(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
const METADATA: [u8; 16] = id(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);
const FILE_PARAMETERS: [u8; 16] = id(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
const DISK_SIZE: [u8; 16] = id(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const SECTOR_SIZE: [u8; 16] = id(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
const HAS_PARENT: u32 = 1 << 1;
/// Of a block: all of it is there.
const PRESENT: u64 = 6;

const fn id(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (
        a.to_le_bytes(),
        b.to_le_bytes(),
        c.to_le_bytes(),
        d.to_be_bytes(),
    );
    [
        a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6],
        d[7],
    ]
}

#[derive(Debug)]
pub(super) struct VhdxMap {
    table: Vec<u64>,
    /// Bytes.
    block_size: u64,
    /// After so many blocks, the table has an entry of another kind.
    ratio: u64,
}

/// The map and the disk's size in bytes.
pub(super) fn read(storage: &dyn Storage) -> Result<(VhdxMap, u64), String> {
    let file_len = storage.len().map_err(|error| error.to_string())?;
    if read_bytes(storage, 0, 8)? != b"vhdxfile" {
        return Err("it has no vhdx signature".into());
    }
    check_headers(storage)?;
    let (table_at, table_len) = region(storage, &BAT, "block table", file_len)?;
    let (metadata_at, metadata_len) = region(storage, &METADATA, "metadata", file_len)?;
    let metadata = read_bytes(storage, metadata_at, metadata_len.min(2 * MIB))?;
    let parameters = item(&metadata, &FILE_PARAMETERS)?;
    let (block_size, flags) = (u64::from(le32(parameters, 0)), le32(parameters, 4));
    let size = le64(item(&metadata, &DISK_SIZE)?, 0);
    let sector = u64::from(le32(item(&metadata, &SECTOR_SIZE)?, 0));
    if flags & HAS_PARENT != 0 {
        return Err("it has a parent: only a part of a disk".into());
    }
    if !block_size.is_power_of_two() || !(MIB..=256 * MIB).contains(&block_size) {
        return Err(format!("its blocks have {block_size} bytes"));
    }
    if sector != 512 && sector != 4096 {
        return Err(format!("its sectors have {sector} bytes"));
    }
    let ratio = (sector << 23) / block_size;
    let blocks = size.div_ceil(block_size);
    let entries = blocks + blocks.saturating_sub(1) / ratio;
    if i64::try_from(size).is_err() || entries > table_len / 8 {
        return Err(format!(
            "a disk of {size} bytes, more than its table covers"
        ));
    }
    let bytes = read_bytes(storage, table_at, entries * 8)?;
    let table = (0..bytes.len()).step_by(8).map(|at| le64(&bytes, at));
    let map = VhdxMap {
        table: table.collect(),
        block_size,
        ratio,
    };
    Ok((map, size))
}

/// The header that counts is the newer one of those that are whole; its log must be empty.
fn check_headers(storage: &dyn Storage) -> Result<(), String> {
    let mut newest: Option<(u64, Vec<u8>)> = None;
    for at in HEADERS {
        let header = read_bytes(storage, at, HEADER_LEN)?;
        let sequence = le64(&header, 8);
        let newer = newest.as_ref().is_none_or(|(other, _)| sequence > *other);
        if header.starts_with(b"head") && is_whole(&header) && newer {
            newest = Some((sequence, header));
        }
    }
    let (_, header) = newest.ok_or("it has no header that is whole")?;
    if header[66..68] != [1, 0] {
        return Err("its version is not 1".into());
    }
    if header[48..64] != [0; 16] {
        return Err(
            "it was not closed: its log holds changes (Hyper-V or qemu-img check -r all)".into(),
        );
    }
    Ok(())
}

/// The checksum at byte 4 is that of all bytes with itself as zeros.
fn is_whole(bytes: &[u8]) -> bool {
    let mut zeroed = bytes.to_vec();
    zeroed[4..8].fill(0);
    crc32c(&zeroed) == le32(bytes, 4)
}

fn region(
    storage: &dyn Storage,
    wanted: &[u8; 16],
    what: &str,
    file_len: u64,
) -> Result<(u64, u64), String> {
    for at in REGION_TABLES {
        let table = read_bytes(storage, at, REGION_TABLE_LEN)?;
        let count = le32(&table, 8);
        if !table.starts_with(b"regi") || !is_whole(&table) || count > MAX_ENTRIES {
            continue;
        }
        let entries = table[16..].chunks_exact(32).take(count as usize);
        let found = entries.into_iter().find(|entry| entry.starts_with(wanted));
        let entry = found.ok_or_else(|| format!("it has no {what}"))?;
        let (offset, len) = (le64(entry, 16), u64::from(le32(entry, 24)));
        check_inside(what, offset, len, file_len)?;
        return Ok((offset, len));
    }
    Err("it has no table of regions that is whole".into())
}

fn item<'a>(metadata: &'a [u8], wanted: &[u8; 16]) -> Result<&'a [u8], String> {
    if !metadata.starts_with(b"metadata") {
        return Err("its metadata has no signature".into());
    }
    let count = usize::try_from(le32(metadata, 8) >> 16).unwrap_or(0);
    let entries = metadata.get(32..).unwrap_or_default().chunks_exact(32);
    let mut entries = entries.take(count.min(MAX_ENTRIES as usize));
    let entry = entries.find(|entry| entry.starts_with(wanted));
    let entry = entry.ok_or("its metadata is not complete")?;
    let at = usize::try_from(le32(entry, 16)).unwrap_or(usize::MAX);
    metadata
        .get(at..)
        .filter(|rest| rest.len() >= 8)
        .ok_or_else(|| "its metadata lies outside of its region".into())
}

impl Map for VhdxMap {
    fn find(&self, offset: u64) -> io::Result<(Run, u64)> {
        let inside = offset % self.block_size;
        let block = offset / self.block_size;
        let index = usize::try_from(block + block / self.ratio).unwrap_or(usize::MAX);
        let entry = self.table.get(index).copied().unwrap_or(0);
        let run = if entry & 7 == PRESENT {
            Run::At((entry & !(MIB - 1)).saturating_add(inside))
        } else {
            Run::Zeros
        };
        Ok((run, self.block_size - inside))
    }
}
