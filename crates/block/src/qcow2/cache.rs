//! L2 tables and blocks of reference counts in memory, each one cluster, by their offset in the file.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxBuildHasher;

use crate::storage::Storage;

/// What all tables in memory may take, bytes: those of a disk of 256 GiB in clusters of 64 KiB.
const LIMIT: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    L2,
    Refcounts,
}

#[derive(Debug)]
struct Slot {
    kind: Kind,
    bytes: Box<[u8]>,
    /// Bytes that the file does not have yet.
    dirty: Range<usize>,
    /// Nothing in the file points here yet: it may be written at any time.
    unlinked: bool,
    used: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    slots: HashMap<u64, Slot, FxBuildHasher>,
    bytes: usize,
    clock: AtomicU64,
}

impl Cache {
    pub(super) fn get(&self, offset: u64) -> Option<&[u8]> {
        let slot = self.slots.get(&offset)?;
        // Often enough right, and nobody else's cache line changes where nothing is loaded.
        let now = self.clock.load(Ordering::Relaxed);
        if slot.used.load(Ordering::Relaxed) != now {
            slot.used.store(now, Ordering::Relaxed);
        }
        Some(&slot.bytes)
    }

    /// A table, read from the file if it is not here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn load(
        &mut self,
        storage: &dyn Storage,
        kind: Kind,
        offset: u64,
        len: u64,
    ) -> io::Result<&[u8]> {
        if !self.slots.contains_key(&offset) {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            storage.read_at(&mut bytes, offset)?;
            self.put(kind, offset, bytes, 0..0, false);
        }
        self.get(offset)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A table that is new, for a cluster that nothing points to yet.
    pub(super) fn create(&mut self, kind: Kind, offset: u64, bytes: Vec<u8>) {
        let dirty = 0..bytes.len();
        self.put(kind, offset, bytes, dirty, true);
    }

    fn put(
        &mut self,
        kind: Kind,
        offset: u64,
        bytes: Vec<u8>,
        dirty: Range<usize>,
        unlinked: bool,
    ) {
        while self.bytes + bytes.len() > LIMIT && self.evict() {}
        self.bytes += bytes.len();
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        let slot = Slot {
            kind,
            bytes: bytes.into(),
            dirty,
            unlinked,
            used: AtomicU64::new(now),
        };
        if let Some(old) = self.slots.insert(offset, slot) {
            self.bytes -= old.bytes.len();
        }
    }

    /// Forgets a quarter of the tables that the file has as well, those that were used longest ago;
    /// false when there are none.
    fn evict(&mut self) -> bool {
        let clean = self.slots.iter().filter(|(_, slot)| slot.dirty.is_empty());
        let mut clean: Vec<_> = clean
            .map(|(&offset, slot)| (slot.used.load(Ordering::Relaxed), offset))
            .collect();
        clean.sort_unstable();
        clean.truncate(clean.len().div_ceil(4));
        for (_, offset) in &clean {
            self.forget(*offset);
        }
        !clean.is_empty()
    }

    /// The table's cluster is something else from now on.
    pub(super) fn forget(&mut self, offset: u64) {
        if let Some(slot) = self.slots.remove(&offset) {
            self.bytes -= slot.bytes.len();
        }
    }

    /// Changes a table that is here.
    pub(super) fn change(&mut self, offset: u64, at: usize, bytes: &[u8]) {
        let Some(slot) = self.slots.get_mut(&offset) else {
            debug_assert!(false, "a table is changed that is not loaded");
            return;
        };
        let range = at..at + bytes.len();
        if let Some(place) = slot.bytes.get_mut(range.clone()) {
            place.copy_from_slice(bytes);
            slot.dirty = if slot.dirty.is_empty() {
                range
            } else {
                slot.dirty.start.min(range.start)..slot.dirty.end.max(range.end)
            };
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.slots.values().all(|slot| slot.dirty.is_empty())
    }

    /// Are so many changes held back that they should be written?
    pub(super) fn is_full(&self) -> bool {
        if self.bytes < LIMIT {
            return false;
        }
        let dirty = self.slots.values().filter(|slot| !slot.dirty.is_empty());
        dirty.map(|slot| slot.bytes.len()).sum::<usize>() > LIMIT / 2
    }

    /// Writes what has changed of tables for which `wanted` says so, in the order of the file: of a
    /// kind, and whether nothing points there yet.
    ///
    /// # Errors
    /// When the file cannot be written. What was written until then counts as written.
    pub(super) fn write(
        &mut self,
        storage: &dyn Storage,
        wanted: impl Fn(Kind, bool) -> bool,
    ) -> io::Result<()> {
        let dirty = self.slots.iter().filter(|(_, slot)| !slot.dirty.is_empty());
        let dirty = dirty.filter(|(_, slot)| wanted(slot.kind, slot.unlinked));
        let mut offsets: Vec<u64> = dirty.map(|(&offset, _)| offset).collect();
        offsets.sort_unstable();
        for offset in offsets {
            if let Some(slot) = self.slots.get_mut(&offset) {
                let changed = slot.bytes.get(slot.dirty.clone()).unwrap_or_default();
                storage.write_at(changed, offset + slot.dirty.start as u64)?;
                slot.dirty = 0..0;
            }
        }
        Ok(())
    }

    /// All that were new have been linked, and that is on stable storage.
    pub(super) fn linked(&mut self) {
        for slot in self.slots.values_mut() {
            slot.unlinked = false;
        }
    }
}
