//! The TLB's second level: larger, and hashed, so that pages which share a slot of the first level
//! both stay; and with the number of the address space in each tag ([`super::spaces`]), so that changes
//! of address space do not empty it. Translated code looks here before it calls anybody, and copies what
//! it finds into the first level.
//!
//! The tables lie beside the vCPU (see `translate::placed_raw`); without them there is no second level.
//! A slot is a line of the host's cache, with the entries for both ways of access.

use super::spaces::{GLOBAL, NOBODY};
use super::used::Used;
use super::{PAGE_MASK, Way, set};

/// log2 of the slots. The hash leaves the pages of any aligned range of that many apart, so
/// that two entries in each hold those of any range at all.
pub(super) const SLOT_BITS: u32 = 14;
const SLOTS: usize = 1 << SLOT_BITS;
pub(crate) const IN_SLOT: usize = 2;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    /// The linear page, and the number of its address space.
    pub(crate) tag: u64,
    /// Host address of the page. Zero where the entry is empty.
    pub(crate) host: u64,
}

/// By way of access.
type Slot = [[Entry; IN_SLOT]; Way::ALL.len()];
const IN_BOTH: usize = Way::ALL.len() * IN_SLOT;
pub(crate) type Table = [Slot; SLOTS];
/// One for each set but the one that is never filled.
pub(crate) type Tables = [Table; set::CHECKED];
const IN_TABLE: usize = SLOTS * IN_BOTH;

/// Bits of the hash that make a slot, and how far they are from its byte offset.
pub(crate) const HASH_MASK: u32 = ((SLOTS - 1) << HASH_SHIFT) as u32;
const HASH_SHIFT: u32 = 4;
pub(crate) const OFFSET_SHIFT: u8 = (size_of::<Slot>().trailing_zeros() - HASH_SHIFT) as u8;

/// Zeroed memory is empty too: no tag is zero.
const EMPTY: Entry = Entry {
    tag: NOBODY,
    host: 0,
};

#[derive(Debug)]
pub(crate) struct Second {
    /// Null until the vCPU is in its place.
    pub(crate) tables: *mut Tables,
    used: Used,
}

// SAFETY: the tables belong to the vCPU that this is part of, and move with it.
unsafe impl Send for Second {}

/// Slot of a tag, as translated code computes it.
pub(super) fn slot(tag: u64) -> usize {
    let hash = std::arch::is_x86_feature_detected!("sse4.2")
        // SAFETY: the processor has it, as was just asked.
        .then(|| unsafe { crc32(tag) });
    ((hash.unwrap_or(0) as u32 & HASH_MASK) >> HASH_SHIFT) as usize
}

#[target_feature(enable = "sse4.2")]
fn crc32(tag: u64) -> u64 {
    std::arch::x86_64::_mm_crc32_u64(0, tag)
}

/// Byte offset of the first slot's entries for an access.
pub(crate) const fn first_at(way: Way, set: usize) -> usize {
    set * size_of::<Table>() + way as usize * size_of::<[Entry; IN_SLOT]>()
}

impl Second {
    pub(super) fn new() -> Second {
        Second {
            tables: std::ptr::null_mut(),
            used: Used::none(IN_TABLE * set::CHECKED),
        }
    }

    fn tables(&mut self) -> Option<&mut Tables> {
        // SAFETY: null, or set by the owner of both; the vCPU's code does not run meanwhile.
        unsafe { self.tables.as_mut() }
    }

    /// The host's address of the page with this tag, if it is known.
    pub(super) fn find(&mut self, way: Way, set: usize, tag: u64) -> Option<u64> {
        let entries = self.tables()?[set][slot(tag)][way as usize];
        let found = entries.into_iter().find(|entry| entry.tag == tag);
        found.map(|entry| entry.host)
    }

    /// Puts in an entry.
    pub(super) fn fill(&mut self, way: Way, set: usize, entry: Entry) {
        let (slot, way) = (slot(entry.tag), way as usize);
        let at = set * IN_TABLE + slot * IN_BOTH + way * IN_SLOT;
        let Some(tables) = self.tables() else { return };
        let [newer, older] = &mut tables[set][slot][way];
        if older.tag == entry.tag {
            *older = entry;
            return self.note(at + 1);
        }
        if newer.tag != entry.tag && newer.host != 0 {
            *older = *newer;
        }
        *newer = entry;
        self.note(at);
        self.note(at + 1);
    }

    fn note(&mut self, index: usize) {
        self.used.note(index, true);
    }

    /// Drops what is not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Way, &Entry) -> bool) {
        let Second { tables, used } = self;
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { tables.as_mut() }) else {
            return;
        };
        used.retain(|index| {
            let way = index % IN_BOTH / IN_SLOT;
            let slot = &mut tables[index / IN_TABLE][index % IN_TABLE / IN_BOTH];
            let entry = &mut slot[way][index % IN_SLOT];
            if entry.host == 0 {
                return false;
            }
            let kept = keep(Way::ALL[way], entry);
            if !kept {
                *entry = EMPTY;
            }
            kept
        });
    }

    pub(super) fn drop_all(&mut self) {
        self.retain(|_, _| false);
    }

    /// Drops what has this tag for one way of access.
    pub(super) fn drop_way(&mut self, way: Way, set: usize, tag: u64) {
        if let Some(tables) = self.tables() {
            drop_tag(&mut tables[set][slot(tag)][way as usize], tag);
        }
    }

    /// Drops what has this tag.
    pub(super) fn drop_tag(&mut self, tag: u64) {
        if let Some(tables) = self.tables() {
            let slot = slot(tag);
            for entries in tables.iter_mut().flat_map(|table| &mut table[slot]) {
                drop_tag(entries, tag);
            }
        }
    }

    /// May the page at host address `host` be written by way of a slot?
    pub(super) fn holds_write(&self, slot: usize, host: u64) -> bool {
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { self.tables.as_ref() }) else {
            return false;
        };
        let mut writes = tables.iter().flat_map(|table| table[slot][WRITE]);
        writes.any(|entry| entry.host == host)
    }

    /// Ends direct writes to the page at host address `host` by way of a slot.
    pub(super) fn end_write(&mut self, slot: usize, host: u64) {
        let Some(tables) = self.tables() else { return };
        for entry in tables.iter_mut().flat_map(|table| &mut table[slot][WRITE]) {
            if entry.host == host {
                *entry = EMPTY;
            }
        }
    }
}

const WRITE: usize = Way::Write as usize;

fn drop_tag(entries: &mut [Entry; IN_SLOT], tag: u64) {
    for entry in entries {
        if entry.tag == tag {
            *entry = EMPTY;
        }
    }
}

const _: () = assert!(GLOBAL & PAGE_MASK == 0 && NOBODY & PAGE_MASK == 0);

#[cfg(test)]
mod tests;
