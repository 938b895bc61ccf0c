//! What a file says of its bitmaps: the directory, whose entries say where each one's table is.
//! Spec: QEMU, docs/interop/qcow2.txt, "Bitmaps extension", "Bitmap directory", "Bitmap table".

use crate::qcow2::header::OFFSET_MASK;

/// Bytes of a directory, its bitmaps, and the entries of all their tables, that we look at.
const MAX_DIRECTORY: u64 = 4 << 20;
const MAX_BITMAPS: u32 = 1024;
const MAX_ENTRIES: u64 = 1 << 22;
const FIXED: usize = 24;
/// QEMU's limit.
pub(super) const MAX_NAME: usize = 1023;

/// What the names of ours begin with.
pub(super) const OWN: &[u8] = b"innkeeper-";

/// It was not written back by whoever changed it: nobody may go by it.
pub(super) const IN_USE: u32 = 1 << 0;
/// Whoever writes to the disk keeps it up.
pub(super) const AUTO: u32 = 1 << 1;
const EXTRA_DATA_COMPATIBLE: u32 = 1 << 2;
const DIRTY_TRACKING: u8 = 1;
const GRANULARITY_BITS: std::ops::RangeInclusive<u8> = 9..=31;
/// Where an entry has its flags, from its begin.
const AT_FLAGS: u64 = 12;

/// An entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where its table is in the file.
    pub(super) table: u64,
    pub(super) entries: u32,
    pub(super) flags: u32,
    kind: u8,
    /// A bit stands for 2 to the power of this bytes of the disk.
    pub(super) granularity_bits: u8,
    pub(super) name: Vec<u8>,
    extra: Vec<u8>,
}

/// Where a word with flags is in the file, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlagPlace {
    pub(super) offset: u64,
    pub(super) flags: u32,
}

impl Listed {
    /// One that is kept up, and not in the file yet.
    pub(super) fn new(name: &[u8], granularity_bits: u8) -> Listed {
        Listed {
            table: 0,
            entries: 0,
            flags: AUTO,
            kind: DIRTY_TRACKING,
            granularity_bits,
            name: name.to_vec(),
            extra: Vec::new(),
        }
    }

    /// Parses one; the bytes that it takes.
    fn parse(bytes: &[u8]) -> Option<(Listed, usize)> {
        let fixed = bytes.get(..FIXED)?;
        let number = |at: usize, len: usize| {
            let bytes = &fixed[at..at + len];
            bytes
                .iter()
                .fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        let narrow = |at: usize| u32::try_from(number(at, 4)).ok();
        let name_len = usize::try_from(number(18, 2)).ok()?;
        let extra_len = usize::try_from(number(20, 4)).ok()?;
        let name_at = FIXED.checked_add(extra_len)?;
        let end = name_at.checked_add(name_len)?;
        let listed = Listed {
            table: number(0, 8),
            entries: narrow(8)?,
            flags: narrow(12)?,
            kind: fixed[16],
            granularity_bits: fixed[17],
            extra: bytes.get(FIXED..name_at)?.to_vec(),
            name: bytes.get(name_at..end)?.to_vec(),
        };
        Some((listed, end.next_multiple_of(8)))
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.table.to_be_bytes());
        to.extend(self.entries.to_be_bytes());
        to.extend(self.flags.to_be_bytes());
        to.extend([self.kind, self.granularity_bits]);
        let name_len = u16::try_from(self.name.len()).unwrap_or(u16::MAX);
        to.extend(name_len.to_be_bytes());
        let extra_len = u32::try_from(self.extra.len()).unwrap_or(u32::MAX);
        to.extend(extra_len.to_be_bytes());
        to.extend(&self.extra);
        to.extend(&self.name);
        to.resize(to.len().next_multiple_of(8), 0);
    }

    /// Does whoever writes to the disk have to keep it up, and does it say what it should?
    pub(super) fn counts(&self) -> bool {
        self.flags & AUTO != 0 && self.flags & IN_USE == 0
    }

    /// One of ours that nobody can go by any more.
    pub(super) fn is_lost(&self) -> bool {
        self.name.starts_with(OWN) && self.flags & IN_USE != 0
    }

    /// One whose meaning we know.
    pub(super) fn is_known(&self) -> bool {
        let extra = self.extra.is_empty() || self.flags & EXTRA_DATA_COMPATIBLE != 0;
        self.kind == DIRTY_TRACKING && extra && GRANULARITY_BITS.contains(&self.granularity_bits)
    }
}

/// The entries of a directory whose first byte is at `offset` of the file, and where their flags are. None
/// when it makes no sense.
pub(super) fn parse(bytes: &[u8], count: u32, offset: u64) -> Option<Vec<(Listed, FlagPlace)>> {
    let mut found: Vec<(Listed, FlagPlace)> = Vec::new();
    let (mut at, mut entries) = (0, 0);
    for _ in 0..count {
        let (listed, len) = Listed::parse(bytes.get(at..)?)?;
        if listed.name.is_empty() || listed.name.len() > MAX_NAME {
            return None;
        }
        entries += u64::from(listed.entries);
        let twice = found.iter().any(|(other, _)| other.name == listed.name);
        if twice || entries > MAX_ENTRIES {
            return None;
        }
        let place = FlagPlace {
            offset: offset + at as u64 + AT_FLAGS,
            flags: listed.flags,
        };
        found.push((listed, place));
        at += len;
    }
    Some(found)
}

/// Where the directory is, as the header says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryPlace {
    pub(super) count: u32,
    pub(super) len: u64,
    pub(super) offset: u64,
}

impl DirectoryPlace {
    /// Of the header extension's data.
    pub(super) fn parse(data: &[u8]) -> Option<DirectoryPlace> {
        let word = |at: usize| Some(u64::from_be_bytes(data.get(at..at + 8)?.try_into().ok()?));
        Some(DirectoryPlace {
            // What follows the count is reserved.
            count: u32::try_from(word(0)? >> 32).ok()?,
            len: word(8)?,
            offset: word(16)?,
        })
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.count.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(self.len.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes
    }

    /// Does it lie in a file of this length, and is it of a size that we read?
    pub(super) fn fits(self, cluster: u64, file_len: u64) -> bool {
        let end = self.offset.checked_add(self.len);
        (1..=MAX_BITMAPS).contains(&self.count)
            && self.len <= MAX_DIRECTORY
            && self.offset.is_multiple_of(cluster)
            && end.is_some_and(|end| end <= file_len.next_multiple_of(cluster))
    }
}

/// What an entry of a bitmap's table says of a cluster's worth of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Zeros,
    Ones,
    /// As the file has them at this offset.
    At(u64),
}

impl Piece {
    pub(super) fn decode(entry: u64) -> Piece {
        match (entry & OFFSET_MASK, entry & 1) {
            (0, 0) => Piece::Zeros,
            (0, _) => Piece::Ones,
            (offset, _) => Piece::At(offset),
        }
    }

    pub(super) fn encode(self) -> u64 {
        match self {
            Piece::Zeros => 0,
            Piece::Ones => 1,
            Piece::At(offset) => offset,
        }
    }
}
