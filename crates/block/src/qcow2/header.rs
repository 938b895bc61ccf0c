//! The qcow2 header, checked before it is believed.
//! Spec: QEMU, docs/interop/qcow2.txt, "Header" and "Header extensions".

use std::io;
use std::path::Path;

use crate::qcow2::bitmap_directory::DirectoryPlace;
use crate::qcow2::layout::Layout;
use crate::storage::Storage;
use crate::{BlockError, Format};

pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

pub(super) const V2_LENGTH: u32 = 72;
pub(super) const V3_LENGTH: u32 = 104;
/// What is read of a header: its longest known part, with the type of compression.
const READ_LENGTH: usize = 112;
/// QEMU's limits, so that an image that works there works here. Bytes.
pub(super) const MAX_L1_TABLE: u64 = 32 << 20;
pub(super) const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// The largest first cluster, which holds the header, its extensions and the backing file's name.
pub(crate) const MAX_CLUSTER_BITS: u32 = 21;
pub(crate) const MIN_CLUSTER_BITS: u32 = 9;
const MIN_CLUSTER: u64 = 1 << MIN_CLUSTER_BITS;
pub(super) const MAX_BACKING_NAME: usize = 1023;
/// Bits of a table entry that hold an offset; all of a host file's offsets fit.
pub(super) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
pub(super) const EXTENSION_END: u32 = 0;
pub(super) const EXTENSION_BITMAPS: u32 = 0x2385_2875;
/// Ours: room for one of bitmaps.
pub(super) const EXTENSION_ROOM: u32 = 0x696e_6e62;
pub(super) const AUTOCLEAR_BITMAPS: u64 = 1 << 0;
pub(super) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// The reference counts may be wrong: the image was not closed.
pub(crate) const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const COMPRESSION: u64 = 1 << 3;
/// Of the compatible features: reference counts are written when the image is closed.
pub(super) const LAZY_REFCOUNTS: u64 = 1 << 0;
const INCOMPATIBLE: [(u64, &str); 3] = [
    (CORRUPT, "a repair (it is marked corrupt)"),
    (1 << 2, "an external data file"),
    (1 << 4, "extended L2 entries"),
];

/// Where fields are that change, bytes from the header's begin.
pub(super) const AT_BACKING: u64 = 8;
pub(super) const AT_SIZE: u64 = 24;
pub(super) const AT_REFCOUNT_TABLE: u64 = 48;
pub(super) const AT_SNAPSHOTS: u64 = 60;
pub(super) const AT_INCOMPATIBLE: u64 = 72;
pub(super) const AT_AUTOCLEAR: u64 = 88;

/// A header whose claims fit its file, and the tables that it names.
#[derive(Debug)]
pub(crate) struct Header {
    pub(super) fixed: Fixed,
    pub(crate) backing: Option<String>,
    pub(crate) backing_format: Option<String>,
    /// Where the bitmaps' directory is, if there is one that counts.
    pub(super) bitmaps: Option<DirectoryPlace>,
    pub(super) l1: Vec<u64>,
    pub(super) refcount_table: Vec<u64>,
}

impl Header {
    /// Reads and checks header, extensions, table bounds and the L1 table; where the image is to be
    /// written, the refcount table too.
    pub(crate) fn read(
        storage: &dyn Storage,
        path: &Path,
        write: bool,
    ) -> Result<Header, BlockError> {
        let failed = |source: io::Error| BlockError::Open {
            path: path.to_owned(),
            source,
        };
        let read = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            storage.read_at(&mut bytes, offset).map_err(failed)?;
            Ok::<_, BlockError>(bytes)
        };
        let wrong = |what: String| BlockError::Qcow2 {
            path: path.to_owned(),
            what,
        };
        let file_len = storage.len().map_err(failed)?;
        let fixed = Fixed::parse(&read(0, READ_LENGTH)?).map_err(wrong)?;
        if let Some(feature) = fixed.unsupported() {
            return Err(BlockError::Unsupported {
                path: path.to_owned(),
                feature,
            });
        }
        fixed.check_tables(file_len).map_err(wrong)?;
        let entries = usize::try_from(fixed.l1_entries).unwrap_or(0);
        let l1 = words(&read(fixed.l1_offset, entries * 8)?);
        check_l1(&l1, &fixed, file_len).map_err(wrong)?;
        let len = usize::try_from(fixed.refcount_len()).unwrap_or(0);
        let refcount_table = words(&read(fixed.refcount_offset, len)?);
        if write {
            check_refcounts(&refcount_table, &fixed, file_len).map_err(wrong)?;
        }
        let first_cluster = 1usize << fixed.cluster_bits;
        let present = usize::try_from(file_len).unwrap_or(usize::MAX);
        let first = read(0, first_cluster.min(present))?;
        let mut header = Header {
            fixed,
            backing: None,
            backing_format: None,
            bitmaps: None,
            l1,
            refcount_table,
        };
        header.read_names(&first).map_err(wrong)?;
        header.read_extensions(&first).map_err(wrong)?;
        Ok(header)
    }

    /// How the backing file is to be read.
    pub(crate) fn backing_format(&self, image: &Path) -> Result<Format, BlockError> {
        match self.backing_format.as_deref() {
            None => Ok(Format::Probe),
            Some("raw" | "file" | "host_device") => Ok(Format::Raw),
            Some("qcow2") => Ok(Format::Qcow2),
            Some("vmdk") => Ok(Format::Vmdk),
            Some("vdi") => Ok(Format::Vdi),
            Some("vpc") => Ok(Format::Vhd),
            Some("vhdx") => Ok(Format::Vhdx),
            Some(other) => Err(BlockError::Unsupported {
                path: image.to_owned(),
                feature: format!("a backing file of the format {other:?}"),
            }),
        }
    }
}

/// The fixed part of the header, in file order.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) version: u32,
    pub(super) backing_offset: u64,
    pub(super) backing_len: u32,
    pub(super) cluster_bits: u32,
    pub(super) size: u64,
    encryption: u32,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) refcount_offset: u64,
    pub(super) refcount_clusters: u32,
    pub(super) snapshots: u32,
    pub(super) snapshots_offset: u64,
    pub(super) incompatible: u64,
    pub(super) compatible: u64,
    pub(super) autoclear: u64,
    pub(super) refcount_order: u32,
    pub(super) header_len: u32,
    pub(super) compression: u8,
}

impl Fixed {
    pub(super) fn parse(bytes: &[u8]) -> Result<Fixed, String> {
        let u32_at = |at: usize| {
            bytes
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map_or(0, u32::from_be_bytes)
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        if bytes.get(..4) != Some(&MAGIC) {
            return Err("it does not begin with the magic QFI\\xfb".into());
        }
        let version = u32_at(4);
        if version != 2 && version != 3 {
            return Err(format!("version {version} is neither 2 nor 3"));
        }
        let v3 = version == 3;
        Ok(Fixed {
            version,
            backing_offset: u64_at(8),
            backing_len: u32_at(16),
            cluster_bits: u32_at(20),
            size: u64_at(24),
            encryption: u32_at(32),
            l1_entries: u32_at(36),
            l1_offset: u64_at(40),
            refcount_offset: u64_at(48),
            refcount_clusters: u32_at(56),
            snapshots: u32_at(60),
            snapshots_offset: u64_at(64),
            incompatible: if v3 { u64_at(72) } else { 0 },
            compatible: if v3 { u64_at(80) } else { 0 },
            autoclear: if v3 { u64_at(88) } else { 0 },
            refcount_order: if v3 { u32_at(96) } else { 4 },
            header_len: if v3 { u32_at(100) } else { V2_LENGTH },
            // Only there in headers that are long enough.
            compression: match bytes.get(104) {
                Some(&kind) if v3 && u32_at(100) > V3_LENGTH => kind,
                _ => 0,
            },
        })
    }

    fn unsupported(&self) -> Option<String> {
        if self.encryption != 0 {
            return Some("decryption".into());
        }
        let known = INCOMPATIBLE
            .iter()
            .find(|(bit, _)| self.incompatible & bit != 0);
        match known {
            Some((_, name)) => Some((*name).to_owned()),
            None if self.incompatible & !(DIRTY | COMPRESSION) != 0 => {
                Some(format!("unknown features ({:#x})", self.incompatible))
            }
            None if self.compression > 1 => {
                Some(format!("the type of compression {}", self.compression))
            }
            None => None,
        }
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            version: self.version,
            cluster_bits: self.cluster_bits,
            refcount_order: self.refcount_order,
        }
    }

    /// Of the refcount table, in bytes. Call it only for cluster sizes that exist.
    pub(super) fn refcount_len(&self) -> u64 {
        u64::from(self.refcount_clusters) << self.cluster_bits
    }

    fn check_tables(&self, file_len: u64) -> Result<(), String> {
        if !(MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&self.cluster_bits) {
            return Err(format!(
                "clusters of 2^{} bytes (2^{MIN_CLUSTER_BITS} to 2^{MAX_CLUSTER_BITS} exist)",
                self.cluster_bits
            ));
        }
        if self.refcount_order > 6 {
            return Err(format!(
                "reference counts of 2^{} bits",
                self.refcount_order
            ));
        }
        let cluster = 1u64 << self.cluster_bits;
        let header_len = u64::from(self.header_len);
        let least = if self.version == 3 {
            V3_LENGTH
        } else {
            V2_LENGTH
        } as u64;
        if header_len < least || header_len > cluster || !header_len.is_multiple_of(8) {
            return Err(format!("a header of {header_len} bytes"));
        }
        let l1_len = u64::from(self.l1_entries) * 8;
        check_table(
            "L1 table",
            self.l1_offset,
            l1_len,
            MAX_L1_TABLE,
            cluster,
            file_len,
        )?;
        if self.refcount_clusters == 0 {
            return Err("it has no refcount table".into());
        }
        check_table(
            "refcount table",
            self.refcount_offset,
            self.refcount_len(),
            MAX_REFCOUNT_TABLE,
            cluster,
            file_len,
        )?;
        let misplaced = self.snapshots_offset >= file_len;
        if self.snapshots > 0 && (misplaced || !self.snapshots_offset.is_multiple_of(cluster)) {
            return Err("its snapshot table lies outside the file".into());
        }
        // Each L1 entry covers one L2 table of cluster / 8 clusters.
        let covered = u128::from(self.l1_entries) << (2 * self.cluster_bits - 3);
        if u128::from(self.size) > covered || self.size > i64::MAX as u64 {
            return Err(format!(
                "a disk of {} bytes, more than its L1 table covers",
                self.size
            ));
        }
        Ok(())
    }
}

impl Header {
    fn read_names(&mut self, first_cluster: &[u8]) -> Result<(), String> {
        if self.fixed.backing_offset == 0 {
            return Ok(());
        }
        let start = usize::try_from(self.fixed.backing_offset).unwrap_or(usize::MAX);
        let len = self.fixed.backing_len as usize;
        let name = start
            .checked_add(len)
            .filter(|_| len <= MAX_BACKING_NAME)
            .and_then(|end| first_cluster.get(start..end))
            .ok_or("its backing file's name lies outside the first cluster")?;
        let name = std::str::from_utf8(name)
            .map_err(|_| "its backing file's name is not UTF-8".to_owned())?;
        self.backing = Some(name.to_owned());
        Ok(())
    }

    fn read_extensions(&mut self, first_cluster: &[u8]) -> Result<(), String> {
        let mut at = self.fixed.header_len as usize;
        let word = |at: usize| {
            first_cluster
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_be_bytes)
        };
        // A version 2 header has no extensions by the letter, yet QEMU reads and writes them.
        while let (Some(kind), Some(len)) = (word(at), word(at + 4)) {
            if kind == EXTENSION_END {
                break;
            }
            let data = first_cluster
                .get(at + 8..)
                .and_then(|rest| rest.get(..len as usize))
                .ok_or("a header extension lies outside the first cluster")?;
            match kind {
                EXTENSION_BACKING_FORMAT => {
                    self.backing_format = Some(String::from_utf8_lossy(data).into_owned());
                }
                // Without the bit, somebody wrote to the image who did not know of bitmaps.
                EXTENSION_BITMAPS if self.fixed.autoclear & AUTOCLEAR_BITMAPS != 0 => {
                    self.bitmaps = DirectoryPlace::parse(data);
                }
                _ => {}
            }
            at += 8 + (len as usize).next_multiple_of(8);
        }
        Ok(())
    }
}

/// Big-endian words of 64 bits, as tables have them.
pub(super) fn words(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| word.try_into().map_or(0, u64::from_be_bytes))
        .collect()
}

fn check_table(
    name: &str,
    offset: u64,
    len: u64,
    limit: u64,
    cluster: u64,
    file_len: u64,
) -> Result<(), String> {
    if len > limit {
        return Err(format!("its {name} of {len} bytes exceeds {limit}"));
    }
    if !offset.is_multiple_of(cluster) {
        return Err(format!(
            "its {name} at {offset:#x} does not begin at a cluster"
        ));
    }
    match offset.checked_add(len) {
        Some(end) if end <= file_len => Ok(()),
        _ => Err(format!("its {name} at {offset:#x} lies outside the file")),
    }
}

/// No L2 table may begin inside no cluster or outside the file.
fn check_l1(table: &[u64], fixed: &Fixed, file_len: u64) -> Result<(), String> {
    let cluster = 1u64 << fixed.cluster_bits;
    for (index, entry) in table.iter().enumerate() {
        let offset = entry & OFFSET_MASK;
        if !offset.is_multiple_of(cluster) || (offset != 0 && offset >= file_len) {
            return Err(format!(
                "L1 entry {index} points to {offset:#x}, outside the file"
            ));
        }
    }
    Ok(())
}

/// Each block of reference counts must begin a cluster of the file. There may be holes: clusters that
/// a missing block would count are free.
fn check_refcounts(table: &[u64], fixed: &Fixed, file_len: u64) -> Result<(), String> {
    let cluster = 1u64 << fixed.cluster_bits;
    let offsets = || table.iter().map(|entry| entry & !(MIN_CLUSTER - 1));
    if offsets().all(|offset| offset == 0) {
        return Err("it has no reference counts".into());
    }
    for (index, offset) in offsets().enumerate() {
        if !offset.is_multiple_of(cluster) || offset >= file_len {
            return Err(format!(
                "refcount table entry {index} points to {offset:#x}, outside the file"
            ));
        }
    }
    Ok(())
}
