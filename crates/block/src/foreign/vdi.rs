//! vdi, the format of `VirtualBox`: a map of blocks, all of one size.
//! Spec: Oracle VirtualBox, VDICore.h (`VDIHEADER1`).

use std::io;

use super::{Map, Run, check_inside, le32, le64, read_bytes};
use crate::storage::Storage;

const HEADER_LEN: u64 = 456;
const DYNAMIC: u32 = 1;
const FIXED: u32 = 2;
const VERSION_1_1: u32 = 0x0001_0001;
/// Nothing was written; zeros; both read as zeros without a parent.
const FREE: u32 = u32::MAX;
const ZERO: u32 = u32::MAX - 1;

#[derive(Debug)]
pub(super) struct VdiMap {
    blocks: Vec<u32>,
    /// Bytes.
    block_size: u64,
    data: u64,
}

/// The map and the disk's size in bytes.
pub(super) fn read(storage: &dyn Storage) -> Result<(VdiMap, u64), String> {
    let header = read_bytes(storage, 0, HEADER_LEN)?;
    let file_len = storage.len().map_err(|error| error.to_string())?;
    if header.get(64..68) != Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        return Err("it has no vdi signature".into());
    }
    let version = le32(&header, 68);
    if version != VERSION_1_1 {
        return Err(format!("its version {version:#x} is not 1.1"));
    }
    match le32(&header, 76) {
        DYNAMIC | FIXED => {}
        kind => return Err(format!("it is of the type {kind}: only a part of a disk")),
    }
    let (map_at, data) = (u64::from(le32(&header, 340)), u64::from(le32(&header, 344)));
    let size = le64(&header, 368);
    let block_size = u64::from(le32(&header, 376));
    let extra = le32(&header, 380);
    let count = u64::from(le32(&header, 384));
    if !block_size.is_power_of_two() || !(512..=1 << 30).contains(&block_size) || extra != 0 {
        return Err(format!("its blocks have {block_size} bytes"));
    }
    if i64::try_from(size).is_err() || size.div_ceil(block_size) > count {
        return Err(format!("a disk of {size} bytes, more than its map covers"));
    }
    check_inside("map", map_at, count * 4, file_len)?;
    let bytes = read_bytes(storage, map_at, count * 4)?;
    let blocks = (0..bytes.len()).step_by(4).map(|at| le32(&bytes, at));
    let map = VdiMap {
        blocks: blocks.collect(),
        block_size,
        data,
    };
    Ok((map, size))
}

impl Map for VdiMap {
    fn find(&self, offset: u64) -> io::Result<(Run, u64)> {
        let inside = offset % self.block_size;
        let index = usize::try_from(offset / self.block_size).unwrap_or(usize::MAX);
        let run = match self.blocks.get(index) {
            None | Some(&(FREE | ZERO)) => Run::Zeros,
            Some(&block) => Run::At(self.data + u64::from(block) * self.block_size + inside),
        };
        Ok((run, self.block_size - inside))
    }
}
