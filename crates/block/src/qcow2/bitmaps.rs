//! Which parts of a disk have changed since when: an image's persistent bitmaps, in memory.
//! Spec: QEMU, docs/interop/qcow2.txt, "Bitmaps".
//!
//! A backup that knows what has not changed since the one before it need not read that again. So each
//! backup begins a bitmap of its own name, which every write marks. The next one builds upon it where its
//! repository has the backup of that name; a bitmap says nothing of any other.
//!
//! While an image is open its bitmaps are in memory. Before the first write the file says that they are in
//! use, by which nobody goes any more; when the image is closed they are written as a whole, and the header
//! leads to the new ones (`bitmap_store.rs`). So whatever is cut off, the file has bitmaps that are right, or
//! none. Rejected: writing bits through, where the first write to each part of the disk would wait for another.
//!
//! Bitmaps that others have made are kept up as well, where they ask for it. What we do not understand stays in
//! use for them.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::qcow2::bitmap_directory::{FlagPlace, IN_USE, Listed, OWN};
use crate::qcow2::check::{MAX_CLUSTERS, MAX_TABLES};
use crate::qcow2::tables::Tables;
use crate::storage::Storage;

/// Those that are kept: one for each repository that a guest is backed up to in turn, and some more, as a backup
/// that fails leaves one.
pub(super) const MAX_OWN: usize = 8;
/// A bit of ours stands for 64 KiB, or for more where that would make more bits than this.
const GRANULARITY_BITS: u8 = 16;
const MAX_BITS: u64 = 1 << 25;
/// What the format allows.
const MAX_GRANULARITY_BITS: u8 = 31;

/// A backup that a disk is to know of: what changes from now on is written down under `name`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub name: String,
    /// What the backup that the new one builds upon is called.
    pub since: Option<String>,
    /// Of no use to anybody any more.
    pub forget: Vec<String>,
}

/// One bit for each piece of the disk.
#[derive(Debug)]
pub(super) struct Bits {
    granularity_bits: u8,
    words: Box<[AtomicU64]>,
}

impl Bits {
    pub(super) fn new(granularity_bits: u8, disk: u64) -> Bits {
        let count = Bits::count(granularity_bits, disk).div_ceil(64);
        Bits {
            granularity_bits,
            words: (0..count).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How many a disk of so many bytes has.
    pub(super) fn count(granularity_bits: u8, disk: u64) -> u64 {
        disk.div_ceil(1 << granularity_bits)
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    /// The words that the bytes `range` of the disk have bits in, with those bits.
    fn masks(&self, range: Range<u64>) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let first = range.start >> self.granularity_bits;
        let end = match range.is_empty() {
            true => first,
            false => ((range.end - 1) >> self.granularity_bits) + 1,
        };
        (first / 64..end.div_ceil(64)).filter_map(move |index| {
            let word = self.words.get(usize::try_from(index).ok()?)?;
            let from = first.saturating_sub(index * 64).min(63);
            let until = (end - index * 64).min(64);
            Some((word, u64::MAX >> (64 - until) & u64::MAX << from))
        })
    }

    pub(super) fn mark(&self, range: Range<u64>) {
        for (word, mask) in self.masks(range) {
            // Most of what is written was written before.
            if word.load(Ordering::Relaxed) & mask != mask {
                word.fetch_or(mask, Ordering::Relaxed);
            }
        }
    }

    /// Was nothing of this written?
    pub(super) fn is_clean(&self, range: Range<u64>) -> bool {
        self.masks(range)
            .all(|(word, mask)| word.load(Ordering::Relaxed) & mask == 0)
    }
}

/// One of an image's bitmaps.
#[derive(Debug)]
pub(super) struct Bitmap {
    /// As the directory in the file has it.
    pub(super) listed: Listed,
    /// Of one that is kept up. The others are carried along.
    pub(super) bits: Option<Bits>,
    /// Those of the file that its table and its bits are in.
    pub(super) clusters: Vec<u64>,
}

/// All of an image.
#[derive(Debug, Default)]
pub(super) struct Bitmaps {
    pub(super) list: Vec<Bitmap>,
    /// Flags in the file that say that a bitmap is right.
    pub(super) promises: Vec<FlagPlace>,
    /// Clusters of the file in which the directory is, and what was in others that nobody needs any more.
    pub(super) directory: Vec<u64>,
    pub(super) dropped: Vec<u64>,
    /// The file has taken back its promises: what is here is not there.
    pub(super) in_use: AtomicBool,
}

impl Bitmaps {
    /// Before anything changes, the file says so.
    ///
    /// # Errors
    /// When that may not be on stable storage.
    pub(super) fn take_back(&self, storage: &dyn Storage) -> io::Result<()> {
        if self.in_use.load(Ordering::Acquire) {
            return Ok(());
        }
        for place in &self.promises {
            let flags = place.flags | IN_USE;
            storage.write_at(&flags.to_be_bytes(), place.offset)?;
        }
        if !self.promises.is_empty() {
            storage.sync()?;
        }
        self.in_use.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn mark(&self, offset: u64, len: u64) {
        for bits in self.list.iter().filter_map(|bitmap| bitmap.bits.as_ref()) {
            bits.mark(offset..offset.saturating_add(len));
        }
    }

    /// The bits of one that is kept up.
    pub(super) fn find(&self, name: &str) -> Option<&Bits> {
        let found = self
            .list
            .iter()
            .find(|bitmap| bitmap.listed.name == name.as_bytes());
        found.and_then(|bitmap| bitmap.bits.as_ref())
    }

    /// Begins one of a disk of so many bytes, in which nothing is marked, and lets go of those that nobody
    /// needs. The file has taken back its promises.
    pub(super) fn begin(&mut self, checkpoint: &Checkpoint, disk: u64) {
        let gone = |bitmap: &Bitmap| {
            let name = &bitmap.listed.name;
            let mut names = checkpoint.forget.iter().chain([&checkpoint.name]);
            names.any(|it| it.as_bytes() == name)
        };
        self.drop_if(|bitmap| bitmap.listed.name.starts_with(OWN) && gone(bitmap));
        let since = checkpoint.since.as_deref().unwrap_or("").as_bytes();
        while self.own().count() >= MAX_OWN {
            let oldest = self.own().find(|bitmap| bitmap.listed.name != since);
            let Some(oldest) = oldest.map(|bitmap| bitmap.listed.name.clone()) else {
                break;
            };
            self.drop_if(|bitmap| bitmap.listed.name == oldest);
        }
        let mut granularity_bits = GRANULARITY_BITS;
        while Bits::count(granularity_bits, disk) > MAX_BITS {
            granularity_bits += 1;
        }
        if granularity_bits > MAX_GRANULARITY_BITS {
            return;
        }
        self.list.push(Bitmap {
            listed: Listed::new(checkpoint.name.as_bytes(), granularity_bits),
            bits: Some(Bits::new(granularity_bits, disk)),
            clusters: Vec::new(),
        });
    }

    /// The oldest first.
    fn own(&self) -> impl Iterator<Item = &Bitmap> {
        let own = |bitmap: &&Bitmap| bitmap.listed.name.starts_with(OWN);
        self.list.iter().filter(own)
    }

    fn drop_if(&mut self, gone: impl Fn(&Bitmap) -> bool) {
        for bitmap in &mut self.list {
            if gone(bitmap) {
                self.dropped.append(&mut bitmap.clusters);
            }
        }
        self.list.retain(|bitmap| !gone(bitmap));
    }

    /// The disk is another one from now on. The file has taken back its promises.
    pub(super) fn drop_all(&mut self) {
        self.drop_if(|_| true);
    }

    /// Somebody else has the file from now on: nothing of this may be written there.
    pub(super) fn forget_all(&mut self) {
        *self = Bitmaps::default();
        self.in_use = AtomicBool::new(true);
    }
}

impl Tables {
    /// Which bytes of the file are data of parts of the disk that `bits` knows to be what they were,
    /// ascending. Nothing else in the file is promised: what is no data is read again.
    pub(super) fn unchanged(&mut self, bits: &Bits) -> io::Result<Vec<Range<u64>>> {
        let size = self.layout.cluster();
        if self.file_len.div_ceil(size) > MAX_CLUSTERS {
            return Ok(Vec::new());
        }
        let clusters = usize::try_from(self.file_len.div_ceil(size)).unwrap_or(0);
        let mut tables = HashSet::new();
        let mut same = vec![0u64; clusters.div_ceil(64)];
        let mut other = same.clone();
        for index in 0..self.l1.len() {
            let Some((table, _)) = self.l2_of(index) else {
                continue;
            };
            // Of one that is there twice, or of more than there can be, nothing is known.
            if !tables.insert(table) || tables.len() as u64 > MAX_TABLES {
                return Ok(Vec::new());
            }
            let begin = index as u64 * self.layout.l2_covers();
            for (number, word) in self.l2_words(table)?.into_iter().enumerate() {
                let Some((first, count)) = self.layout.holds(self.layout.decode(word)) else {
                    continue;
                };
                let at = begin + number as u64 * size;
                let inside = at < self.fixed.size && bits.is_clean(at..at + size);
                let set = if inside { &mut same } else { &mut other };
                for cluster in first..first + count {
                    let word = usize::try_from(cluster / 64).ok();
                    if let Some(word) = word.and_then(|index| set.get_mut(index)) {
                        *word |= 1 << (cluster % 64);
                    }
                }
            }
        }
        let mut found: Vec<Range<u64>> = Vec::new();
        for cluster in 0..clusters as u64 {
            let (index, bit) = (usize::try_from(cluster / 64).unwrap_or(0), cluster % 64);
            // What tables that make no sense lead to twice, and what is a table, may be anything.
            let word = same[index] & !other[index];
            if word >> bit & 1 == 0 || self.reserved.touches(cluster, 1) {
                continue;
            }
            let at = cluster * size;
            match found.last_mut() {
                Some(last) if last.end == at => last.end = at + size,
                _ => found.push(at..at + size),
            }
        }
        Ok(found)
    }
}
