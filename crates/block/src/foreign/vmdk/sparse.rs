//! A sparse extent: a directory of tables of grains, which may be compressed.
//! Spec: VMware, "Virtual Disk Format 5.0", "Hosted Sparse Extents", "Stream-Optimized Compressed
//! Sparse Extents".

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};

use super::SECTOR;
use crate::device::Extent;
use crate::foreign::{check_inside, le32, le64, read_bytes};
use crate::storage::Storage;

const HEADER_LEN: u64 = 512;
const FLAG_ZERO_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
/// The directory is where the footer says, which is a header at the file's end.
const AT_END: u64 = u64::MAX;
const FOOTER_FROM_END: u64 = 1024;
const DEFLATE: u16 = 1;
/// In units of sectors: 4 KiB to 2 MiB.
const GRAIN_SIZES: std::ops::RangeInclusive<u64> = 1..=4096;
const MAX_TABLE_ENTRIES: u64 = 4096;
const MAX_DESCRIPTOR: u64 = 1 << 20;
/// Of an entry, where the header says that there are such: the grain is zeros.
const ZERO_GRAIN: u32 = 1;
/// Before a compressed grain: its first sector and its length.
const GRAIN_HEADER: u64 = 12;

type Recent<T> = Mutex<Option<(u64, Arc<T>)>>;

#[derive(Debug)]
pub(super) struct SparseExtent {
    storage: Arc<dyn Storage>,
    file_len: u64,
    /// Bytes.
    len: u64,
    grain: u64,
    /// Entries of a table.
    per_table: u64,
    /// Where tables begin, in sectors.
    directory: Vec<u32>,
    zero_grains: bool,
    compressed: bool,
    /// Where it is and its bytes.
    descriptor: (u64, u64),
    /// The table and the unpacked grain that were used last.
    table: Recent<Vec<u32>>,
    unpacked: Recent<Vec<u8>>,
}

impl SparseExtent {
    pub(super) fn read(storage: Arc<dyn Storage>) -> Result<SparseExtent, String> {
        let file_len = storage.len().map_err(|error| error.to_string())?;
        let mut header = read_bytes(&*storage, 0, HEADER_LEN)?;
        if le64(&header, 56) == AT_END {
            let at = file_len.saturating_sub(FOOTER_FROM_END);
            header = read_bytes(&*storage, at, HEADER_LEN)?;
        }
        if !header.starts_with(b"KDMV") {
            return Err("an extent of it has no signature".into());
        }
        let version = le32(&header, 4);
        if !(1..=3).contains(&version) {
            return Err(format!("its version {version} is none of 1 to 3"));
        }
        let flags = le32(&header, 8);
        let (capacity, grain) = (le64(&header, 12), le64(&header, 20));
        let per_table = u64::from(le32(&header, 44));
        let at = le64(&header, 56);
        if !grain.is_power_of_two() || !GRAIN_SIZES.contains(&grain) {
            return Err(format!("its grains have {grain} sectors"));
        }
        if per_table == 0 || per_table > MAX_TABLE_ENTRIES {
            return Err(format!("its tables have {per_table} entries"));
        }
        if capacity > i64::MAX as u64 / SECTOR {
            return Err(format!("an extent of {capacity} sectors"));
        }
        let compressed = flags & FLAG_COMPRESSED != 0;
        let algorithm = u16::from_le_bytes([header[77], header[78]]);
        if compressed && algorithm != DEFLATE {
            return Err(format!(
                "its grains are compressed by algorithm {algorithm}"
            ));
        }
        let tables = capacity.div_ceil(grain * per_table);
        let directory_at = at
            .checked_mul(SECTOR)
            .ok_or("its directory lies outside the file")?;
        let directory_len = tables.checked_mul(4).ok_or("its directory is too long")?;
        check_inside("directory", directory_at, directory_len, file_len)?;
        let bytes = read_bytes(&*storage, directory_at, directory_len)?;
        let descriptor = (le64(&header, 28), le64(&header, 36));
        Ok(SparseExtent {
            storage,
            file_len,
            len: capacity * SECTOR,
            grain: grain * SECTOR,
            per_table,
            directory: (0..bytes.len())
                .step_by(4)
                .map(|at| le32(&bytes, at))
                .collect(),
            zero_grains: flags & FLAG_ZERO_GRAINS != 0,
            compressed,
            descriptor,
            table: Mutex::default(),
            unpacked: Mutex::default(),
        })
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The descriptor that it carries, if it does.
    pub(super) fn descriptor(&self) -> Result<Option<String>, String> {
        let (at, sectors) = self.descriptor;
        if at == 0 || sectors == 0 {
            return Ok(None);
        }
        let (at, len) = (at.saturating_mul(SECTOR), sectors.saturating_mul(SECTOR));
        check_inside("descriptor", at, len, self.file_len)?;
        let bytes = read_bytes(&*self.storage, at, len.min(MAX_DESCRIPTOR))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Where the grain of `offset` is, in bytes; none: zeros.
    fn grain_at(&self, offset: u64) -> io::Result<Option<u64>> {
        let covers = self.grain * self.per_table;
        let number = offset / covers;
        let directory = usize::try_from(number)
            .ok()
            .and_then(|at| self.directory.get(at));
        let Some(&table) = directory.filter(|&&table| table != 0) else {
            return Ok(None);
        };
        let table = self.load_table(u64::from(table) * SECTOR)?;
        let index = usize::try_from(offset % covers / self.grain).unwrap_or(usize::MAX);
        Ok(match table.get(index).copied().unwrap_or(0) {
            0 => None,
            ZERO_GRAIN if self.zero_grains => None,
            sector => Some(u64::from(sector) * SECTOR),
        })
    }

    fn load_table(&self, at: u64) -> io::Result<Arc<Vec<u32>>> {
        let mut recent = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((place, table)) = &*recent
            && *place == at
        {
            return Ok(Arc::clone(table));
        }
        let bytes = read_bytes(&*self.storage, at, self.per_table * 4);
        let bytes = bytes.map_err(io::Error::other)?;
        let table = (0..bytes.len()).step_by(4).map(|at| le32(&bytes, at));
        let table = Arc::new(table.collect());
        *recent = Some((at, Arc::clone(&table)));
        Ok(table)
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let skip = at % self.grain;
            let rest = &mut buf[done..];
            let len =
                usize::try_from(self.grain - skip).map_or(rest.len(), |it| it.min(rest.len()));
            let piece = &mut rest[..len];
            match self.grain_at(at)? {
                None => piece.fill(0),
                Some(place) if self.compressed => {
                    let grain = self.unpack(place)?;
                    // Less than a grain: the rest of the last one.
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                    let there = grain.get(skip..).unwrap_or_default();
                    let there = &there[..there.len().min(len)];
                    piece[..there.len()].copy_from_slice(there);
                    piece[there.len()..].fill(0);
                }
                Some(place) => self.storage.read_at(piece, place + skip)?,
            }
            done += len;
        }
        Ok(())
    }

    fn unpack(&self, at: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut recent = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((place, grain)) = &*recent
            && *place == at
        {
            return Ok(Arc::clone(grain));
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a grain cannot be unpacked");
        let header = read_bytes(&*self.storage, at, GRAIN_HEADER).map_err(io::Error::other)?;
        let len = u64::from(le32(&header, 8));
        if len > self.grain * 2 {
            return Err(damaged());
        }
        let packed =
            read_bytes(&*self.storage, at + GRAIN_HEADER, len).map_err(io::Error::other)?;
        let mut grain = vec![0; usize::try_from(self.grain).unwrap_or(0)];
        let mut stream = Decompress::new(true);
        let ended = stream.decompress(&packed, &mut grain, FlushDecompress::Finish);
        if ended.is_err() {
            return Err(damaged());
        }
        grain.truncate(usize::try_from(stream.total_out()).unwrap_or(0));
        let grain = Arc::new(grain);
        *recent = Some((at, Arc::clone(&grain)));
        Ok(grain)
    }

    pub(super) fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        let len = len.min(self.grain - offset % self.grain);
        let found = self.grain_at(offset)?;
        Ok((found.map_or(Extent::Hole, |_| Extent::Data), len))
    }
}
