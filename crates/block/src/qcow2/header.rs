//! The qcow2 header, checked before it is believed.
//! Spec: QEMU, docs/interop/qcow2.txt, "Header" and "Header extensions".

use std::path::Path;

use crate::file::ImageFile;
use crate::raw::read_or_zeros;
use crate::{BlockError, Format};

pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

const V2_LENGTH: u32 = 72;
const V3_LENGTH: u32 = 104;
/// QEMU's limits, so that an image that works there works here. Bytes.
const MAX_L1_TABLE: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// The largest first cluster, which holds the header, its extensions and the backing file's name.
const MAX_CLUSTER_BITS: u32 = 21;
const MIN_CLUSTER_BITS: u32 = 9;
const MIN_CLUSTER: u64 = 1 << MIN_CLUSTER_BITS;
const MAX_BACKING_NAME: usize = 1023;
/// Bits of a table entry that hold an offset; all of a host file's offsets fit.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const INCOMPATIBLE: [(u64, &str); 5] = [
    (
        1 << 0,
        "a repair of its reference counts (qemu-img check -r all)",
    ),
    (1 << 1, "a repair (it is marked corrupt)"),
    (1 << 2, "an external data file"),
    (1 << 3, "a compression other than zlib"),
    (1 << 4, "extended L2 entries"),
];

/// What we take from a header whose claims fit its file.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) backing: Option<String>,
    backing_format: Option<String>,
}

impl Header {
    /// Reads and checks header, extensions, table bounds and the L1 table; where the image is to be
    /// written, the refcount table too.
    pub(crate) fn read(image: &ImageFile, write: bool) -> Result<Header, BlockError> {
        let read = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            read_or_zeros(&image.file, &mut bytes, offset).map_err(|source| BlockError::Open {
                path: image.path.clone(),
                source,
            })?;
            Ok::<_, BlockError>(bytes)
        };
        let wrong = |what: String| BlockError::Qcow2 {
            path: image.path.clone(),
            what,
        };
        let fixed = Fixed::parse(&read(0, V3_LENGTH as usize)?).map_err(wrong)?;
        if let Some(feature) = fixed.unsupported() {
            return Err(BlockError::Unsupported {
                path: image.path.clone(),
                feature,
            });
        }
        fixed.check_tables(image.len).map_err(wrong)?;
        let entries = usize::try_from(fixed.l1_entries).unwrap_or(0);
        check_l1(&read(fixed.l1_offset, entries * 8)?, &fixed, image.len).map_err(wrong)?;
        if write {
            let len = usize::try_from(fixed.refcount_len()).unwrap_or(0);
            let table = read(fixed.refcount_offset, len)?;
            check_refcounts(&table, &fixed, image.len).map_err(wrong)?;
        }
        let first_cluster = 1usize << fixed.cluster_bits;
        let present = usize::try_from(image.len).unwrap_or(usize::MAX);
        fixed
            .read_extensions(&read(0, first_cluster.min(present))?)
            .map_err(wrong)
    }

    /// How the backing file is to be read.
    pub(crate) fn backing_format(&self, image: &Path) -> Result<Format, BlockError> {
        match self.backing_format.as_deref() {
            None => Ok(Format::Probe),
            Some("raw" | "file" | "host_device") => Ok(Format::Raw),
            Some("qcow2") => Ok(Format::Qcow2),
            Some(other) => Err(BlockError::Unsupported {
                path: image.to_owned(),
                feature: format!("a backing file of the format {other:?}"),
            }),
        }
    }
}

/// The fixed part of the header, in file order.
#[derive(Debug)]
struct Fixed {
    version: u32,
    backing_offset: u64,
    backing_len: u32,
    cluster_bits: u32,
    size: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    snapshots: u32,
    snapshots_offset: u64,
    incompatible: u64,
    refcount_order: u32,
    header_len: u32,
}

impl Fixed {
    fn parse(bytes: &[u8]) -> Result<Fixed, String> {
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
            refcount_order: if v3 { u32_at(96) } else { 4 },
            header_len: if v3 { u32_at(100) } else { V2_LENGTH },
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
            None if self.incompatible != 0 => {
                Some(format!("unknown features ({:#x})", self.incompatible))
            }
            None => None,
        }
    }

    /// Of the refcount table, in bytes. Call it only for cluster sizes that exist.
    fn refcount_len(&self) -> u64 {
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
        if self.snapshots > 0 && self.snapshots_offset >= file_len {
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

    fn read_extensions(&self, first_cluster: &[u8]) -> Result<Header, String> {
        let mut header = Header::default();
        if self.backing_offset != 0 {
            let start = usize::try_from(self.backing_offset).unwrap_or(usize::MAX);
            let len = self.backing_len as usize;
            let name = start
                .checked_add(len)
                .filter(|_| len <= MAX_BACKING_NAME)
                .and_then(|end| first_cluster.get(start..end))
                .ok_or("its backing file's name lies outside the first cluster")?;
            let name = std::str::from_utf8(name)
                .map_err(|_| "its backing file's name is not UTF-8".to_owned())?;
            header.backing = Some(name.to_owned());
        }
        let mut at = self.header_len as usize;
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
            if kind == EXTENSION_BACKING_FORMAT {
                header.backing_format = Some(String::from_utf8_lossy(data).into_owned());
            }
            at += 8 + (len as usize).next_multiple_of(8);
        }
        Ok(header)
    }
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
fn check_l1(table: &[u8], fixed: &Fixed, file_len: u64) -> Result<(), String> {
    let cluster = 1u64 << fixed.cluster_bits;
    for (index, entry) in table.chunks_exact(8).enumerate() {
        let entry = entry.try_into().map_or(0, u64::from_be_bytes);
        let offset = entry & OFFSET_MASK;
        if !offset.is_multiple_of(cluster) || (offset != 0 && offset >= file_len) {
            return Err(format!(
                "L1 entry {index} points to {offset:#x}, outside the file"
            ));
        }
    }
    Ok(())
}

/// Each block of reference counts must begin a cluster of the file, and there must be one for each
/// part of the file up to the last: looking for a free cluster, `imago` makes the blocks that are
/// missing, each of which needs a free cluster, and would not come back.
fn check_refcounts(table: &[u8], fixed: &Fixed, file_len: u64) -> Result<(), String> {
    let cluster = 1u64 << fixed.cluster_bits;
    let offset = |entry: &[u8]| {
        let entry = entry.try_into().map_or(0, u64::from_be_bytes);
        entry & !(MIN_CLUSTER - 1)
    };
    let present = table.chunks_exact(8).rposition(|entry| offset(entry) != 0);
    let Some(last) = present else {
        return Err("it has no reference counts".into());
    };
    for (index, entry) in table.chunks_exact(8).take(last + 1).enumerate() {
        let offset = offset(entry);
        if offset == 0 {
            return Err(format!(
                "block {index} of its reference counts is missing (qemu-img check -r all)"
            ));
        }
        if !offset.is_multiple_of(cluster) || offset >= file_len {
            return Err(format!(
                "refcount table entry {index} points to {offset:#x}, outside the file"
            ));
        }
    }
    Ok(())
}
