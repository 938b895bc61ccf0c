//! From linear instruction pointers to translated code: what indirect and cross-page branches look
//! up inline. One table for each kind of access that code may be translated for.
//!
//! An entry says: code at this linear address, with the page mapped as it is now, is translated
//! there. So entries go when the mapping goes (a flush) and when the code dies.

use crate::mmu::PAGE_MASK;

pub(crate) const ENTRIES: usize = 4096;
pub(crate) const TABLES: usize = 3;

/// Slot of a linear address in its table.
pub(crate) const fn slot(rip: u64) -> usize {
    (rip ^ rip >> 12) as usize & (ENTRIES - 1)
}

/// A tag that is never looked up in `slot`.
const fn no_tag(slot: usize) -> u64 {
    slot as u64 ^ 1
}

/// One table, as translated code reads it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table {
    pub(crate) tags: [u64; ENTRIES],
    pub(crate) codes: [u64; ENTRIES],
}

/// What a filled slot holds beside what translated code needs.
#[derive(Debug, Clone, Copy)]
struct Filled {
    table: u8,
    slot: u16,
    global: bool,
    rip: u64,
    /// Guest-physical page.
    page: u64,
}

/// The tables and how to empty them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Jumps {
    pub(crate) tables: [Table; TABLES],
    filled: Vec<Filled>,
}

impl Jumps {
    pub(crate) fn new() -> Jumps {
        const EMPTY: Table = {
            let mut tags = [0; ENTRIES];
            let mut n = 0;
            while n < ENTRIES {
                tags[n] = no_tag(n);
                n += 1;
            }
            Table {
                tags,
                codes: [0; ENTRIES],
            }
        };
        Jumps {
            tables: [EMPTY; TABLES],
            filled: Vec::new(),
        }
    }

    /// `rip`, mapped to the guest-physical page at `page`, is translated at `code`.
    pub(crate) fn fill(&mut self, table: usize, rip: u64, code: u64, page: u64, global: bool) {
        let slot = slot(rip);
        let entries = &mut self.tables[table];
        if entries.tags[slot] != no_tag(slot) {
            let same = |f: &Filled| usize::from(f.slot) == slot && usize::from(f.table) == table;
            if let Some(at) = self.filled.iter().position(same) {
                self.filled.swap_remove(at);
            }
        }
        entries.tags[slot] = rip;
        entries.codes[slot] = code;
        self.filled.push(Filled {
            table: table as u8,
            slot: slot as u16,
            global,
            rip,
            page,
        });
    }

    fn retain(&mut self, keep: impl Fn(&Filled) -> bool) {
        let tables = &mut self.tables;
        self.filled.retain(|entry| {
            let kept = keep(entry);
            if !kept {
                let slot = usize::from(entry.slot);
                tables[usize::from(entry.table)].tags[slot] = no_tag(slot);
            }
            kept
        });
    }

    /// After a flush of what is not global.
    pub(crate) fn drop_local(&mut self) {
        self.retain(|entry| entry.global);
    }

    /// After a flush of everything, or when all code is gone.
    pub(crate) fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// After a flush of the linear page of `gla`.
    pub(crate) fn drop_linear(&mut self, gla: u64) {
        self.retain(|entry| (entry.rip ^ gla) & PAGE_MASK != 0);
    }

    /// The code of guest-physical page `page` is dead.
    pub(crate) fn drop_physical(&mut self, page: u64) {
        self.retain(|entry| entry.page != page);
    }
}
