//! How an image's clusters and tables are laid out, and what the entries of its tables say.
//! Spec: QEMU, docs/interop/qcow2.txt, "L1 table entry", "Standard Cluster Descriptor",
//! "Compressed Clusters Descriptor", "Host cluster management".

use crate::qcow2::header::OFFSET_MASK;

/// The cluster belongs to this table entry alone, so it may be written in place.
pub(super) const COPIED: u64 = 1 << 63;
pub(super) const COMPRESSED: u64 = 1 << 62;
/// Since version 3: reads as zeros, whether or not a cluster is kept for it.
pub(super) const ZERO: u64 = 1;
/// What sizes of compressed clusters are counted in, bytes.
const COMPRESSED_SECTOR: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// A reference count has 2 to the power of this bits.
    pub(super) refcount_order: u32,
}

/// What an L2 entry says of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The backing file's, or zeros.
    Hole,
    /// Zeros; a cluster may be kept for it.
    Zero { host: Option<u64> },
    /// At this offset; `own` when no snapshot has it too.
    Data { host: u64, own: bool },
    /// At this offset, in no more than so many bytes.
    Compressed { host: u64, len: u64 },
}

impl Layout {
    /// Bytes.
    pub(super) fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    pub(super) fn l2_entries(self) -> u64 {
        self.cluster() / 8
    }

    /// Bytes of the disk that one L2 table describes.
    pub(super) fn l2_covers(self) -> u64 {
        self.cluster() * self.l2_entries()
    }

    /// Reference counts in a block of them.
    pub(super) fn counts_per_block(self) -> u64 {
        (self.cluster() * 8) >> self.refcount_order
    }

    pub(super) fn greatest_count(self) -> u64 {
        u64::MAX >> (64 - (1u32 << self.refcount_order))
    }

    pub(super) fn l1_index(self, offset: u64) -> usize {
        usize::try_from(offset / self.l2_covers()).unwrap_or(usize::MAX)
    }

    pub(super) fn l2_index(self, offset: u64) -> usize {
        // Below the entries of a table.
        usize::try_from((offset >> self.cluster_bits) % self.l2_entries()).unwrap_or(0)
    }

    pub(super) fn decode(self, entry: u64) -> Entry {
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.cluster_bits - 8);
            let host = entry & ((1 << offset_bits) - 1);
            let sectors = (entry & !(COPIED | COMPRESSED)) >> offset_bits;
            // The first sector is not counted, and may begin before the data does.
            let len = (sectors + 1) * COMPRESSED_SECTOR - host % COMPRESSED_SECTOR;
            return Entry::Compressed { host, len };
        }
        let host = entry & OFFSET_MASK;
        if self.version >= 3 && entry & ZERO != 0 {
            return Entry::Zero {
                host: (host != 0).then_some(host),
            };
        }
        if host == 0 {
            return Entry::Hole;
        }
        Entry::Data {
            host,
            own: entry & COPIED != 0,
        }
    }

    /// The entry of a compressed cluster of `len` bytes at `host`; none when it is too far for one.
    pub(super) fn encode_compressed(self, host: u64, len: u64) -> Option<u64> {
        let offset_bits = 62 - (self.cluster_bits - 8);
        let sectors = (host % COMPRESSED_SECTOR + len).div_ceil(COMPRESSED_SECTOR) - 1;
        let fits = host < 1 << offset_bits && sectors < 1 << (62 - offset_bits);
        fits.then_some(COMPRESSED | sectors << offset_bits | host)
    }

    /// The clusters of the file that an entry holds on to: the first's number, and how many.
    pub(super) fn holds(self, entry: Entry) -> Option<(u64, u64)> {
        match entry {
            Entry::Hole | Entry::Zero { host: None } => None,
            Entry::Zero { host: Some(host) } | Entry::Data { host, .. } => {
                Some((host >> self.cluster_bits, 1))
            }
            Entry::Compressed { host, len } => {
                let first = host >> self.cluster_bits;
                Some((first, ((host + len - 1) >> self.cluster_bits) - first + 1))
            }
        }
    }
}

/// A reference count in a block of them. Counts below a byte begin at its low bits.
pub(super) fn count_at(block: &[u8], index: u64, order: u32) -> u64 {
    let bits = 1u64 << order;
    let at = usize::try_from(index * bits / 8).unwrap_or(usize::MAX);
    if order < 3 {
        let byte = u64::from(block.get(at).copied().unwrap_or(0));
        return (byte >> (index * bits % 8)) & ((1 << bits) - 1);
    }
    let len = usize::try_from(bits / 8).unwrap_or(8);
    let bytes = block.get(at..at + len).unwrap_or_default();
    bytes
        .iter()
        .fold(0, |count, &byte| count << 8 | u64::from(byte))
}

/// The bytes that change when a count does, and where in the block they are.
pub(super) fn count_bytes(block: &[u8], index: u64, order: u32, count: u64) -> (usize, Vec<u8>) {
    let bits = 1u64 << order;
    let at = usize::try_from(index * bits / 8).unwrap_or(usize::MAX);
    if order < 3 {
        let shift = index * bits % 8;
        let mask = ((1u64 << bits) - 1) << shift;
        let byte = u64::from(block.get(at).copied().unwrap_or(0));
        let byte = byte & !mask | (count << shift) & mask;
        return (at, vec![byte.to_le_bytes()[0]]);
    }
    let len = usize::try_from(bits / 8).unwrap_or(8);
    (at, count.to_be_bytes()[8 - len..].to_vec())
}
