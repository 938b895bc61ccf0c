//! A new image: header, refcount table, blocks of counts, an empty L1 table, in that order.
//! Spec: QEMU, docs/interop/qcow2.txt, "Header", "Header extensions".

use std::io;

use crate::device::round_to_sectors;
use crate::qcow2::bitmap_slot;
use crate::qcow2::header::{
    EXTENSION_BACKING_FORMAT, EXTENSION_ROOM, LAZY_REFCOUNTS, MAGIC, MAX_BACKING_NAME,
    MAX_CLUSTER_BITS, MAX_L1_TABLE, MIN_CLUSTER_BITS,
};
use crate::qcow2::layout::Layout;
use crate::storage::Storage;

const HEADER_LEN: u32 = 112;
/// 16 bits a count, as everybody has it.
const REFCOUNT_ORDER: u32 = 4;
/// From here on an image has room for the header extension of bitmaps.
const ROOM_CLUSTER_BITS: u32 = 12;

/// What a new image is to be.
#[derive(Debug, Clone)]
pub(crate) struct NewQcow2 {
    /// Bytes; rounded up to sectors.
    pub(crate) size: u64,
    /// A cluster has 2 to the power of this bytes: 9 to 21.
    pub(crate) cluster_bits: u32,
    /// Counts are written when the image is closed.
    pub(crate) lazy_refcounts: bool,
    /// The backing file's name and format, as the header has them.
    pub(crate) backing: Option<(String, String)>,
}

/// Writes a new image to an empty file. Nothing of it is on stable storage yet.
///
/// # Errors
/// When the format cannot hold it or the host cannot write.
pub(crate) fn write_new(storage: &dyn Storage, new: &NewQcow2) -> io::Result<()> {
    let invalid = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    if !(MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&new.cluster_bits) {
        return invalid("a cluster has 512 bytes to 2 MiB, a power of two".into());
    }
    let layout = Layout {
        version: 3,
        cluster_bits: new.cluster_bits,
        refcount_order: REFCOUNT_ORDER,
    };
    let size = round_to_sectors(new.size);
    let cluster = layout.cluster();
    let l1_entries = size.div_ceil(layout.l2_covers());
    if l1_entries * 8 > MAX_L1_TABLE || i64::try_from(size).is_err() {
        return invalid(format!(
            "a qcow2 with clusters of {cluster} bytes holds no more than {} bytes",
            MAX_L1_TABLE / 8 * layout.l2_covers()
        ));
    }
    let l1_clusters = (l1_entries * 8).div_ceil(cluster);
    // Blocks count themselves and the table, which both grow with their number.
    let (mut blocks, mut table_clusters) = (1, 1);
    let total = loop {
        let total = 1 + table_clusters + blocks + l1_clusters;
        if total <= blocks * layout.counts_per_block() && blocks * 8 <= table_clusters * cluster {
            break total;
        }
        blocks = total.div_ceil(layout.counts_per_block());
        table_clusters = (blocks * 8).div_ceil(cluster);
    };
    let l1_offset = (1 + table_clusters + blocks) * cluster;
    let header = header(new, size, &[l1_entries, l1_offset, cluster, table_clusters]);
    if header.len() as u64 > cluster {
        return invalid(format!(
            "clusters of {cluster} bytes have no room for the header"
        ));
    }
    storage.set_len(total * cluster)?;
    let table: Vec<u8> = (0..blocks)
        .flat_map(|block| ((1 + table_clusters + block) * cluster).to_be_bytes())
        .collect();
    storage.write_at(&table, cluster)?;
    let counts: Vec<u8> = (0..total).flat_map(|_| 1u16.to_be_bytes()).collect();
    storage.write_at(&counts, (1 + table_clusters) * cluster)?;
    storage.write_at(&header, 0)
}

fn header(new: &NewQcow2, size: u64, layout: &[u64; 4]) -> Vec<u8> {
    let [l1_entries, l1_offset, refcount_offset, refcount_clusters] = *layout;
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
    let mut extensions = Vec::new();
    if let Some((_, format)) = &new.backing {
        extensions.extend(EXTENSION_BACKING_FORMAT.to_be_bytes());
        extensions.extend(narrow(format.len() as u64));
        extensions.extend(format.as_bytes());
        extensions.resize(extensions.len().next_multiple_of(8), 0);
    }
    // Small clusters have no more room than they need.
    if new.cluster_bits >= ROOM_CLUSTER_BITS {
        extensions.extend(EXTENSION_ROOM.to_be_bytes());
        extensions.extend(narrow(bitmap_slot::DATA as u64));
        extensions.extend([0; bitmap_slot::DATA]);
    }
    extensions.extend([0; 8]);
    let name = new.backing.as_ref().map_or("", |(name, _)| name.as_str());
    let name_at = u64::from(HEADER_LEN) + extensions.len() as u64;
    let mut header = MAGIC.to_vec();
    header.extend(3u32.to_be_bytes());
    header.extend(if name.is_empty() { 0 } else { name_at }.to_be_bytes());
    header.extend(narrow(name.len().min(MAX_BACKING_NAME) as u64));
    header.extend(new.cluster_bits.to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend([0; 4]); // not encrypted
    header.extend(narrow(l1_entries));
    header.extend(l1_offset.to_be_bytes());
    header.extend(refcount_offset.to_be_bytes());
    header.extend(narrow(refcount_clusters));
    header.extend([0; 12]); // no snapshots
    header.extend([0; 8]); // no incompatible features
    header.extend(
        if new.lazy_refcounts {
            LAZY_REFCOUNTS
        } else {
            0
        }
        .to_be_bytes(),
    );
    header.extend([0; 8]); // no features to clear
    header.extend(REFCOUNT_ORDER.to_be_bytes());
    header.extend(HEADER_LEN.to_be_bytes());
    header.extend([0; 8]); // deflate
    header.extend(extensions);
    header.extend(name.as_bytes());
    header
}
