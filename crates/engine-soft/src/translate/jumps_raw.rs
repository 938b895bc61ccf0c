//! From linear instruction pointers to translated code: what indirect and cross-page branches look
//! up inline. One table for each kind of access that code may be translated for.
//!
//! An entry says: code at this linear address, with the page mapped as it is now, is translated
//! there. So entries go when the mapping goes (a flush) and when the code dies. Flushes are frequent
//! and tables large, so what is filled is noted in a bitmap.

use std::arch::x86_64::_mm_crc32_u64;

use super::crossings::Crossings;
use super::filled::Filled;
use super::mode::Mode;
use crate::mmu::used::Used;
use crate::mmu::{FetchKind, PAGE_MASK};

const ENTRIES: usize = 1 << 15;
pub(crate) const TABLES: usize = 3;

/// Byte offset of an entry, from the hash of its address.
pub(super) const OFFSET_MASK: u32 = ((ENTRIES - 1) * size_of::<Entry>()) as u32;

/// What translated code reads. All zero is an empty table but for the entry of address zero.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) tag: u64,
    pub(crate) code: u64,
}

pub(crate) type Table = [Entry; ENTRIES];

/// Beside each entry, for us alone.
#[derive(Debug, Clone, Copy, Default)]
struct Note {
    /// Guest-physical page of the code, with [`GLOBAL`] and [`LARGE`] in its low bits.
    page: u64,
}

const GLOBAL: u64 = 1;
const LARGE: u64 = 2;

/// The tables' keeper. The tables themselves lie beside the vCPU, where translated code finds them.
#[derive(Debug)]
pub(crate) struct Jumps {
    /// Of the tables in the same [`Placed`](super::placed_raw::Placed); null until then.
    pub(super) tables: *mut [Table; TABLES],
    notes: Box<[Note]>,
    used: Used,
    filled: Filled,
    /// Mode bits that each table was filled under.
    modes: [u16; TABLES],
    pub(super) crossings: Crossings,
}

// SAFETY: the tables belong to the vCPU that the keeper is part of, and move with it.
unsafe impl Send for Jumps {}

/// Slot of a linear address in its table, as translated code computes it.
pub(super) fn slot(rip: u64) -> usize {
    // SAFETY: without SSE4.2 there is no translator.
    let hash = unsafe { crc32(rip) };
    (hash as u32 & OFFSET_MASK) as usize / size_of::<Entry>()
}

#[target_feature(enable = "sse4.2")]
fn crc32(rip: u64) -> u64 {
    _mm_crc32_u64(0, rip)
}

impl Jumps {
    pub(super) fn new() -> Jumps {
        Jumps {
            tables: std::ptr::null_mut(),
            notes: vec![Note::default(); ENTRIES * TABLES].into_boxed_slice(),
            used: Used::none(ENTRIES * TABLES),
            filled: Filled::none(),
            modes: [0; TABLES],
            crossings: Crossings::new(),
        }
    }

    /// The code at `rip` for `mode`, if it is known.
    pub(super) fn find(&self, mode: Mode, rip: u64) -> Option<u64> {
        let entry = self.tables().get(mode.set())?.get(slot(rip))?;
        (self.modes[mode.set()] == mode.bits() && entry.tag == rip && entry.code != 0)
            .then_some(entry.code)
    }

    /// `rip`, mapped to the guest-physical page at `page`, is translated at `code`.
    ///
    /// Answers where it was put, for [`Jumps::drop_page_at`].
    pub(super) fn fill(
        &mut self,
        mode: Mode,
        rip: u64,
        code: u64,
        page: u64,
        kind: FetchKind,
    ) -> u32 {
        let table = mode.set();
        if self.modes[table] != mode.bits() {
            self.modes[table] = mode.bits();
            self.retain(|place, _, _| place / ENTRIES != table);
        }
        let slot = slot(rip);
        let index = table * ENTRIES + slot;
        let old = std::mem::replace(
            &mut self.tables_mut()[table][slot],
            Entry { tag: rip, code },
        );
        if old.tag != rip || old.code == 0 {
            let tables = self.tables;
            self.filled
                .note(rip, index as u32, |place| address(tables, place));
        }
        let global = if kind.global { GLOBAL } else { 0 };
        let large = if kind.large { LARGE } else { 0 };
        self.notes[index].page = page | global | large;
        self.used.note(index, kind.global);
        index as u32
    }

    /// Keeps the entries that `keep` answers yes to, by their place, linear address and note.
    fn retain(&mut self, keep: impl Fn(usize, u64, u64) -> bool) {
        let Jumps {
            tables,
            notes,
            used,
            ..
        } = self;
        if tables.is_null() {
            return;
        }
        // SAFETY: see `tables_mut`.
        let tables = unsafe { &mut **tables };
        used.retain(|index| {
            let (table, slot) = (index / ENTRIES, index % ENTRIES);
            let entry = &mut tables[table][slot];
            if entry.code == 0 {
                return false;
            }
            let kept = keep(index, entry.tag, notes[index].page);
            if !kept {
                *entry = empty(slot);
            }
            kept
        });
    }

    /// After a flush of what is not global.
    pub(crate) fn drop_local(&mut self) {
        self.crossings.clear();
        let Jumps {
            tables,
            notes,
            used,
            ..
        } = self;
        // SAFETY: see `tables_mut`.
        let Some(tables) = (unsafe { tables.as_mut() }) else {
            return;
        };
        used.take_local(|index| {
            let (table, slot) = (index / ENTRIES, index % ENTRIES);
            let entry = &mut tables[table][slot];
            if notes[index].page & GLOBAL == 0 && entry.code != 0 {
                *entry = empty(slot);
            }
        });
    }

    /// After a flush of everything, or when all code is gone.
    pub(crate) fn clear(&mut self) {
        self.crossings.clear();
        self.retain(|_, _, _| false);
        self.filled.clear();
    }

    /// After a flush of the linear page of `gla`.
    pub(crate) fn drop_linear(&mut self, gla: u64) {
        self.crossings.clear();
        let tables = self.tables;
        let drop = |place: u32| {
            let (table, slot) = (place as usize / ENTRIES, place as usize % ENTRIES);
            // SAFETY: see `tables_mut`; a place was filled only when there were tables.
            unsafe { (*tables)[table][slot] = empty(slot) };
        };
        self.filled
            .take_page(gla, |place| address(tables, place), drop);
    }

    /// After a flush of the large page of `gla`: of all that lie in the same GiB.
    pub(crate) fn drop_large(&mut self, gla: u64) {
        self.crossings.clear();
        self.retain(|_, tag, page| page & LARGE == 0 || (tag ^ gla) >> 30 != 0);
    }

    /// The code of guest-physical page `page` is dead, and what is known of it was put at `places`.
    pub(super) fn drop_page_at(&mut self, page: u64, places: &[u32]) {
        for &index in places {
            let index = index as usize;
            let (table, slot) = (index / ENTRIES, index % ENTRIES);
            if self.notes[index].page & PAGE_MASK == page {
                let entry = &mut self.tables_mut()[table][slot];
                *entry = empty(slot);
            }
        }
    }

    fn tables(&self) -> &[Table] {
        if self.tables.is_null() {
            return &[];
        }
        // SAFETY: set by `Placed`, which owns both the tables and this; the vCPU's code, which reads
        // them too, does not run meanwhile.
        unsafe { &*self.tables }
    }

    fn tables_mut(&mut self) -> &mut [Table; TABLES] {
        // SAFETY: as in `tables`; code is translated only for a vCPU in its place.
        unsafe { &mut *self.tables }
    }
}

/// The linear address that an entry of the tables is filled for.
fn address(tables: *const [Table; TABLES], place: u32) -> Option<u64> {
    let (table, slot) = (place as usize / ENTRIES, place as usize % ENTRIES);
    // SAFETY: see `Jumps::tables`.
    let entry = unsafe { tables.as_ref() }?[table][slot];
    (entry.code != 0).then_some(entry.tag)
}

/// An entry whose tag is never looked up in `slot`.
pub(super) fn empty(slot: usize) -> Entry {
    let tag = if slot == self::slot(0) { 1 } else { 0 };
    Entry { tag, code: 0 }
}
