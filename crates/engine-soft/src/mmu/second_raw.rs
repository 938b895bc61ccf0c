//! The TLB's second level: larger, and hashed, so that pages which share a slot of the first level
//! both stay. Translated code looks here before it calls anybody, and copies what it finds into the
//! first level.
//!
//! The tables lie beside the vCPU (see `translate::placed_raw`); without them there is no second level.
//! What translated code copies is not noted as used in the first level. So whatever leaves this
//! level is noted there then: an entry of the first level is either noted or is here too.

use super::used::Used;
use super::{Entry, Way, set};

/// log2 of the slots of a table. The hash leaves the pages of any aligned range of that many apart, so
/// that two entries in each hold those of any range at all.
pub(super) const SLOT_BITS: u32 = 14;
const SLOTS: usize = 1 << SLOT_BITS;
pub(crate) const IN_SLOT: usize = 2;
const ENTRIES: usize = SLOTS * IN_SLOT;

/// For each way one for each kind of access but the one that is never filled.
pub(crate) const TABLES: usize = 2 * set::CHECKED;
pub(crate) type Table = [[Entry; IN_SLOT]; SLOTS];
pub(crate) type Tables = [Table; TABLES];

/// Half the byte offset of a slot in its table, from the hash of its page's address.
pub(crate) const HALF_OFFSET_MASK: u32 = ((SLOTS - 1) * size_of::<Entry>()) as u32;

const EMPTY: Entry = Entry {
    tag: UNALIGNED,
    host: 0,
};

/// A tag that no page has.
const UNALIGNED: u64 = 1;

#[derive(Debug)]
pub(crate) struct Second {
    /// Null until the vCPU is in its place.
    pub(crate) tables: *mut Tables,
    used: Used,
}

// SAFETY: the tables belong to the vCPU that this is part of, and move with it.
unsafe impl Send for Second {}

/// Slot of a page, as translated code computes it.
pub(super) fn slot(page: u64) -> usize {
    let hash = std::arch::is_x86_feature_detected!("sse4.2")
        // SAFETY: the processor has it, as was just asked.
        .then(|| unsafe { crc32(page) });
    (hash.unwrap_or(0) as u32 & HALF_OFFSET_MASK) as usize / size_of::<Entry>()
}

#[target_feature(enable = "sse4.2")]
fn crc32(page: u64) -> u64 {
    std::arch::x86_64::_mm_crc32_u64(0, page)
}

/// Number of a table.
pub(crate) const fn table(way: Way, set: usize) -> usize {
    way as usize * set::CHECKED + set
}

/// Place in the first level of an entry of table `table`.
fn first_place(table: usize, entry: &Entry) -> usize {
    let (way, set) = (Way::ALL[table / set::CHECKED], table % set::CHECKED);
    super::place(way, set, entry.tag)
}

/// Makes all-zero tables empty: page zero is the only one that an entry of zeros would match.
pub(crate) fn clear_zero(tables: &mut Tables) {
    for table in tables {
        table[slot(0)] = [EMPTY; IN_SLOT];
    }
}

impl Second {
    pub(super) fn new() -> Second {
        Second {
            tables: std::ptr::null_mut(),
            used: Used::none(ENTRIES * TABLES),
        }
    }

    fn tables(&mut self) -> Option<&mut Tables> {
        // SAFETY: null, or set by the owner of both; the vCPU's code does not run meanwhile.
        unsafe { self.tables.as_mut() }
    }

    /// The entry of linear page `page`, if there is one.
    pub(super) fn find(&mut self, table: usize, page: u64) -> Option<Entry> {
        let entries = self.tables()?[table][slot(page)];
        entries.into_iter().find(|entry| entry.tag == page)
    }

    /// Puts in an entry. What had the place is noted in `first`.
    pub(super) fn fill(&mut self, table: usize, entry: Entry, global: bool, first: &mut Used) {
        let slot = slot(entry.tag);
        let at = table * ENTRIES + slot * IN_SLOT;
        let Some(tables) = self.tables() else { return };
        let [newer, older] = &mut tables[table][slot];
        if older.tag == entry.tag {
            *older = entry;
            return self.used.note(at + 1, global);
        }
        if newer.tag == entry.tag || newer.host == 0 {
            *newer = entry;
            return self.used.note(at, global);
        }
        let old = std::mem::replace(older, std::mem::replace(newer, entry));
        if old.host != 0 {
            // It may be anybody's, and what is noted as local is flushed the more often.
            first.note(first_place(table, &old), false);
        }
        // The older was here before, and may be either.
        self.used.note(at, global);
        self.used.note(at + 1, true);
        self.used.note(at + 1, false);
    }

    /// Drops what is not kept, and notes it in `first`.
    pub(super) fn retain(&mut self, first: &mut Used, keep: impl Fn(Way, &Entry) -> bool) {
        let Second { tables, used } = self;
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { tables.as_mut() }) else {
            return;
        };
        used.retain(|index| {
            let table = index / ENTRIES;
            let entry = &mut tables[table][index % ENTRIES / IN_SLOT][index % IN_SLOT];
            if entry.host == 0 {
                return false;
            }
            let kept = keep(Way::ALL[table / set::CHECKED], entry);
            if !kept {
                first.note(first_place(table, entry), false);
                *entry = EMPTY;
            }
            kept
        });
    }

    pub(super) fn drop_all(&mut self, first: &mut Used) {
        self.retain(first, |_, _| false);
    }

    /// Drops what was not global when it was put in, and perhaps more.
    pub(super) fn drop_local(&mut self, first: &mut Used) {
        let Second { tables, used } = self;
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { tables.as_mut() }) else {
            return;
        };
        used.take_local(|index| {
            let table = index / ENTRIES;
            let entry = &mut tables[table][index % ENTRIES / IN_SLOT][index % IN_SLOT];
            if entry.host != 0 {
                first.note(first_place(table, entry), false);
                *entry = EMPTY;
            }
        });
    }

    /// Drops linear page `page` from a table.
    pub(super) fn drop_page(&mut self, table: usize, page: u64) {
        let Some(tables) = self.tables() else { return };
        for entry in &mut tables[table][slot(page)] {
            if entry.tag == page {
                *entry = EMPTY;
            }
        }
    }

    /// May the page at host address `host` be written by way of a slot?
    pub(super) fn holds_write(&self, slot: usize, host: u64) -> bool {
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { self.tables.as_ref() }) else {
            return false;
        };
        let tables = &tables[table(Way::Write, 0)..];
        tables
            .iter()
            .any(|table| table[slot].iter().any(|entry| entry.host == host))
    }

    /// Ends direct writes to the page at host address `host` by way of a slot.
    pub(super) fn end_write(&mut self, slot: usize, host: u64) {
        let Some(tables) = self.tables() else { return };
        for table in &mut tables[table(Way::Write, 0)..] {
            for entry in &mut table[slot] {
                if entry.host == host {
                    *entry = EMPTY;
                }
            }
        }
    }
}
