//! The TLB's second level: larger, and hashed, so that pages which share a slot of the first level
//! both stay. Translated code looks here before it calls anybody, and copies what it finds into the
//! first level.
//!
//! The tables lie beside the vCPU (see `translate::placed_raw`); without them there is no second level.
//! What translated code copies is not noted as used in the first level. So whatever leaves this
//! level is noted there then: an entry of the first level is either noted or is here too.

use super::used::Used;
use super::{Entry, GLOBAL, PAGE_MASK, SET_ENTRIES, no_tag, set};

const ENTRIES: usize = 1 << 13;

/// One for each kind of access but the one that is never filled.
pub(crate) type Tables = [[Entry; ENTRIES]; set::CHECKED];

/// Byte offset of an entry in its table, from the hash of its page's address.
pub(crate) const OFFSET_MASK: u32 = ((ENTRIES - 1) * size_of::<Entry>()) as u32;

const EMPTY: Entry = Entry {
    read: UNALIGNED,
    write: UNALIGNED,
    host: 0,
    gpa: 0,
};

/// Set in a tag that no page has.
const UNALIGNED: u64 = 1;

/// The tag of an entry that allows no such access. It is not page-aligned, so it matches nothing
/// here; and no access that is looked up in the slot of `page` in the first level begins in the page
/// that it lies in, so it matches nothing there either.
fn no_access(page: u64) -> u64 {
    no_tag((page >> 12) as usize & (SET_ENTRIES - 1)) | UNALIGNED
}

#[derive(Debug)]
pub(crate) struct Second {
    /// Null until the vCPU is in its place.
    pub(crate) tables: *mut Tables,
    used: Used,
}

// SAFETY: the tables belong to the vCPU that this is part of, and move with it.
unsafe impl Send for Second {}

/// Slot of a page, as translated code computes it.
fn slot(page: u64) -> usize {
    let hash = std::arch::is_x86_feature_detected!("sse4.2")
        // SAFETY: the processor has it, as was just asked.
        .then(|| unsafe { crc32(page) });
    (hash.unwrap_or(0) as u32 & OFFSET_MASK) as usize / size_of::<Entry>()
}

#[target_feature(enable = "sse4.2")]
fn crc32(page: u64) -> u64 {
    std::arch::x86_64::_mm_crc32_u64(0, page)
}

/// The linear page of an entry that is not empty.
fn page_of(entry: &Entry) -> u64 {
    if entry.read & UNALIGNED == 0 {
        entry.read
    } else {
        entry.write
    }
}

/// Slot of an entry's page in the first level, counted from its first set.
fn first_slot(table: usize, entry: &Entry) -> usize {
    table * SET_ENTRIES + ((page_of(entry) >> 12) as usize & (SET_ENTRIES - 1))
}

/// Makes all-zero tables empty: page zero is the only one that an entry of zeros would match.
pub(crate) fn clear_zero(tables: &mut Tables) {
    for table in tables {
        table[slot(0)] = EMPTY;
    }
}

impl Second {
    pub(super) fn new() -> Second {
        Second {
            tables: std::ptr::null_mut(),
            used: Used::none(ENTRIES * set::CHECKED),
        }
    }

    fn tables(&mut self) -> Option<&mut Tables> {
        // SAFETY: null, or set by the owner of both; the vCPU's code does not run meanwhile.
        unsafe { self.tables.as_mut() }
    }

    /// Puts in the mapping of `page` for accesses of kind `table`. Tags of the first level that say
    /// "no" are not page-aligned here. What had the place is noted in `first`.
    pub(super) fn fill(&mut self, table: usize, page: u64, entry: Entry, first: &mut Used) {
        let slot = slot(page);
        let keep = |tag| if tag == page { page } else { no_access(page) };
        let entry = Entry {
            read: keep(entry.read),
            write: keep(entry.write),
            ..entry
        };
        let Some(tables) = self.tables() else { return };
        let old = std::mem::replace(&mut tables[table][slot], entry);
        if old.host != 0 {
            first.note(first_slot(table, &old), old.gpa & GLOBAL != 0);
        }
        self.used
            .note(table * ENTRIES + slot, entry.gpa & GLOBAL != 0);
    }

    /// Drops what is not kept, and notes it in `first`.
    pub(super) fn retain(&mut self, first: &mut Used, keep: impl Fn(&mut Entry, u64) -> bool) {
        let Second { tables, used } = self;
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { tables.as_mut() }) else {
            return;
        };
        used.retain(|index| {
            let table = index / ENTRIES;
            let entry = &mut tables[table][index % ENTRIES];
            let page = page_of(entry);
            first.note(first_slot(table, entry), entry.gpa & GLOBAL != 0);
            let kept = keep(entry, page);
            if !kept {
                *entry = EMPTY;
            }
            kept
        });
    }

    pub(super) fn drop_all(&mut self, first: &mut Used) {
        self.retain(first, |_, _| false);
    }

    pub(super) fn drop_local(&mut self, first: &mut Used) {
        let Second { tables, used } = self;
        // SAFETY: as in `tables`.
        let Some(tables) = (unsafe { tables.as_mut() }) else {
            return;
        };
        used.take_local(|index| {
            let table = index / ENTRIES;
            let entry = &mut tables[table][index % ENTRIES];
            if entry.gpa & GLOBAL == 0 {
                first.note(first_slot(table, entry), false);
                *entry = EMPTY;
            }
        });
    }

    pub(super) fn drop_page(&mut self, page: u64) {
        let slot = slot(page);
        for table in self.tables().into_iter().flatten() {
            let entry = &mut table[slot];
            if entry.read == page || entry.write == page {
                *entry = EMPTY;
            }
        }
    }

    /// Ends direct writes to guest-physical page `gpa` through linear page `gla`.
    pub(super) fn end_write(&mut self, gla: u64, gpa: u64) {
        let slot = slot(gla);
        for table in self.tables().into_iter().flatten() {
            let entry = &mut table[slot];
            if entry.write == gla && entry.gpa & PAGE_MASK == gpa {
                entry.write = no_access(gla);
            }
        }
    }

    /// Ends direct writes where `ends` says so of the guest-physical page.
    pub(super) fn end_writes(&mut self, first: &mut Used, ends: impl Fn(u64) -> bool) {
        self.retain(first, |entry, page| {
            if entry.write & UNALIGNED == 0 && ends(entry.gpa & PAGE_MASK) {
                entry.write = no_access(page);
            }
            entry.read & entry.write & UNALIGNED == 0
        });
    }
}
