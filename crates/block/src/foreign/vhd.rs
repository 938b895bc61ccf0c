//! vhd, the format of Virtual PC, also known as vpc: fixed, or with a table of blocks.
//! Spec: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0.

use std::io;

use super::{Map, Run, be32, be64, check_inside, read_bytes};
use crate::storage::Storage;

const FOOTER_LEN: u64 = 512;
const HEADER_LEN: u64 = 1024;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const UNUSED: u32 = u32::MAX;
const SECTOR: u64 = 512;
/// Geometry that says no more than that the disk is larger.
const LARGEST_GEOMETRY: u64 = 65535 * 16 * 255;
/// Who counts a disk's sectors by its geometry.
const BY_GEOMETRY: [&[u8]; 3] = [b"vpc ", b"vs  ", b"qemu"];

#[derive(Debug)]
pub(super) enum VhdMap {
    Fixed,
    Dynamic {
        /// Where blocks begin, in sectors.
        blocks: Vec<u32>,
        /// Bytes of a block's data, and of the bitmap before it.
        block_size: u64,
        bitmap: u64,
    },
}

/// The map and the disk's size in bytes.
pub(super) fn read(storage: &dyn Storage) -> Result<(VhdMap, u64), String> {
    let file_len = storage.len().map_err(|error| error.to_string())?;
    // A copy of the footer begins the file, except in fixed images.
    let mut footer = read_bytes(storage, 0, FOOTER_LEN)?;
    if !footer.starts_with(b"conectix") {
        footer = read_bytes(storage, file_len.saturating_sub(FOOTER_LEN), FOOTER_LEN)?;
    }
    if !footer.starts_with(b"conectix") {
        return Err("it has no vhd footer".into());
    }
    check_sum(&footer, 64, "footer")?;
    let size = disk_size(&footer);
    match be32(&footer, 60) {
        FIXED => {
            check_inside("data", 0, size, file_len.saturating_sub(FOOTER_LEN))?;
            Ok((VhdMap::Fixed, size))
        }
        DYNAMIC => Ok((read_dynamic(storage, &footer, size, file_len)?, size)),
        kind => Err(format!("it is of the type {kind}: only a part of a disk")),
    }
}

fn disk_size(footer: &[u8]) -> u64 {
    let current = be64(footer, 48);
    let geometry = be32(footer, 56);
    let (cylinders, heads, sectors) = (geometry >> 16, geometry >> 8 & 0xff, geometry & 0xff);
    let counted = u64::from(cylinders) * u64::from(heads) * u64::from(sectors);
    let by_geometry = BY_GEOMETRY.contains(&&footer[28..32]);
    if by_geometry && counted != 0 && counted < LARGEST_GEOMETRY {
        counted * SECTOR
    } else {
        current
    }
}

fn read_dynamic(
    storage: &dyn Storage,
    footer: &[u8],
    size: u64,
    file_len: u64,
) -> Result<VhdMap, String> {
    let at = be64(footer, 16);
    check_inside("header", at, HEADER_LEN, file_len)?;
    let header = read_bytes(storage, at, HEADER_LEN)?;
    if !header.starts_with(b"cxsparse") {
        return Err("it has no dynamic header".into());
    }
    check_sum(&header, 36, "header")?;
    let table = be64(&header, 16);
    let entries = u64::from(be32(&header, 28));
    let block_size = u64::from(be32(&header, 32));
    if !block_size.is_power_of_two() || !(SECTOR..=1 << 28).contains(&block_size) {
        return Err(format!("its blocks have {block_size} bytes"));
    }
    if i64::try_from(size).is_err() || size.div_ceil(block_size) > entries {
        return Err(format!(
            "a disk of {size} bytes, more than its table covers"
        ));
    }
    check_inside("table", table, entries * 4, file_len)?;
    let bytes = read_bytes(storage, table, entries * 4)?;
    let blocks = (0..bytes.len()).step_by(4).map(|at| be32(&bytes, at));
    Ok(VhdMap::Dynamic {
        blocks: blocks.collect(),
        block_size,
        // A bit for each sector, in whole sectors.
        bitmap: (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR),
    })
}

/// The one's complement of the sum of all bytes but the sum's own.
fn check_sum(bytes: &[u8], at: usize, what: &str) -> Result<(), String> {
    let all: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    let own: u32 = bytes[at..at + 4].iter().map(|&byte| u32::from(byte)).sum();
    if be32(bytes, at) == !(all - own) {
        Ok(())
    } else {
        Err(format!("the checksum of its {what} is wrong"))
    }
}

impl Map for VhdMap {
    fn find(&self, offset: u64) -> io::Result<(Run, u64)> {
        let VhdMap::Dynamic {
            blocks,
            block_size,
            bitmap,
        } = self
        else {
            return Ok((Run::At(offset), u64::MAX));
        };
        let inside = offset % block_size;
        let index = usize::try_from(offset / block_size).unwrap_or(usize::MAX);
        // The bitmap is for disks with a parent: without one, what was not written is zeros.
        let run = match blocks.get(index) {
            None | Some(&UNUSED) => Run::Zeros,
            Some(&sector) => Run::At(u64::from(sector) * SECTOR + bitmap + inside),
        };
        Ok((run, block_size - inside))
    }
}
