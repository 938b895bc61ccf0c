//! From linear instruction pointers to translated code: what indirect and cross-page branches look
//! up inline. One table for each kind of access that code may be translated for.
//!
//! An entry says: code at this linear address, with the page mapped as it is now, is translated
//! there. So entries go when the mapping goes (a flush) and when the code dies. Flushes are frequent
//! and tables large, so what is filled is noted in a bitmap.
//!
//! A change of address space takes what is not global out of the supervisor's tables, which is little. The
//! table of user mode is another matter: its entries stay, but are looked for elsewhere. The hash is
//! a CRC, so one that begins with a *salt* in place of zero differs from it by a constant: with the right
//! salts the slot of an address is the usual one with the space's number mixed in by exclusive or. An
//! address has a slot of its own in each space, and an entry whose address fits is of the space that
//! looks for it.
//!
//! Two addresses that are jumped to in turn may have one slot. So each has another, which differs in the
//! lowest bit: it is looked in out of line before anybody is called. (Spaces are mixed in above that bit.)

use std::arch::asm;

use super::crossings::Crossings;
use super::filled::Filled;
use super::mode::Mode;
use crate::mmu::spaces::{NUMBERS, Numbers};
use crate::mmu::used::Used;
use crate::mmu::{FetchKind, PAGE_MASK, set};

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

/// Beside each entry, for us alone: the guest-physical page of the code, with [`GLOBAL`] and [`LARGE`] in
/// its low bits. A plain number, whose zeros the host gives without our writing them.
type Note = u64;

const GLOBAL: u64 = 1;
const LARGE: u64 = 2;

/// The tables' keeper. The tables themselves lie beside the vCPU, where translated code finds them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Jumps {
    /// What hashes of the table of user mode begin with.
    pub(super) salt: u32,
    /// Number of the address space that it is the salt of.
    space: u16,
    /// Those that are not looked for any more.
    dead: Numbers,
    /// Of the tables in the same [`Placed`](super::placed_raw::Placed); null until then.
    pub(super) tables: *mut [Table; TABLES],
    notes: Box<[Note]>,
    used: Used,
    filled: Filled,
    /// Mode bits that each table was filled under.
    pub(super) modes: [u16; TABLES],
    pub(super) crossings: Crossings,
}

// SAFETY: the tables belong to the vCPU that the keeper is part of, and move with it.
unsafe impl Send for Jumps {}

/// Slot of a linear address in its table, as translated code computes it. `salt` is zero but for user mode.
pub(super) fn slot(salt: u32, rip: u64) -> usize {
    let mut hash = u64::from(salt);
    // SAFETY: without SSE4.2 there is no translator. Not by the intrinsic, which would be called.
    unsafe {
        asm!("crc32 {h}, {r}", h = inout(reg) hash, r = in(reg) rip, options(pure, nomem, nostack, preserves_flags))
    };
    (hash as u32 & OFFSET_MASK) as usize / size_of::<Entry>()
}

/// Slots that an address may have beside its first: it is one of two.
const WAYS: usize = 2;
/// Where the second is, from the first, in bytes.
pub(super) const OTHER_WAY: u8 = size_of::<Entry>() as u8;
/// Slots that address zero may be looked up in.
pub(super) const OF_ZERO: usize = NUMBERS * WAYS;

/// What a hash begins with so that `space` is mixed into the slot. The hash of 64 bits that are zero but
/// for the 32 it began with is that many steps of a shift register; this is as many steps back.
fn salt_of(space: u16) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mixed = u32::from(space) * (WAYS * size_of::<Entry>()) as u32;
    (0..u64::BITS).fold(mixed, |state, _| match state >> 31 {
        0 => state << 1,
        _ => (state ^ POLYNOMIAL) << 1 | 1,
    })
}

impl Jumps {
    pub(super) fn new() -> Jumps {
        Jumps {
            salt: salt_of(0),
            space: 0,
            dead: [0; NUMBERS / 64],
            tables: std::ptr::null_mut(),
            notes: vec![0; ENTRIES * TABLES].into_boxed_slice(),
            used: Used::none(ENTRIES * TABLES),
            filled: Filled::none(),
            modes: [0; TABLES],
            crossings: Crossings::new(),
        }
    }

    /// What is looked for in the table of user mode is of this address space from now on.
    /// `dead` are not looked for again.
    pub(crate) fn enter_space(&mut self, number: u64, dead: &Numbers) {
        self.dead = *dead;
        if u64::from(self.space) != number {
            self.space = number as u16;
            self.salt = salt_of(self.space);
        }
    }

    fn salt_for(&self, mode: Mode) -> u32 {
        if mode.set() == set::USER {
            self.salt
        } else {
            0
        }
    }

    /// The code at `rip` for `mode`, if it is known.
    #[inline]
    pub(super) fn find(&self, mode: Mode, rip: u64) -> Option<u64> {
        let table = self.tables().get(mode.set())?;
        let slot = slot(self.salt_for(mode), rip);
        let entries = [table.get(slot)?, table.get(slot ^ 1)?];
        let found = entries.into_iter().find(|entry| entry.tag == rip)?;
        (self.modes[mode.set()] == mode.bits() && found.code != 0).then_some(found.code)
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
        let slot = self.way_for(table, slot(self.salt_for(mode), rip), rip);
        let index = table * ENTRIES + slot;
        let old = std::mem::replace(
            &mut self.tables_mut()[table][slot],
            Entry { tag: rip, code },
        );
        if old.tag != rip || old.code == 0 {
            let (tables, dead) = (self.tables, &self.dead);
            self.filled
                .note(rip, index as u32, |place| address(tables, dead, place));
        }
        let global = if kind.global { GLOBAL } else { 0 };
        let large = if kind.large { LARGE } else { 0 };
        self.notes[index] = page | global | large;
        // What is kept over changes of address space, by one means or the other.
        self.used.note(index, kind.global || table == set::USER);
        index as u32
    }

    /// Which of the two slots an address gets: the first, unless another has it and the second is free or
    /// another's second. The one that it does not get does not have it.
    fn way_for(&mut self, table: usize, first: usize, rip: u64) -> usize {
        let salt = if table == set::USER { self.salt } else { 0 };
        let entries = &mut self.tables_mut()[table];
        let is_free = |entry: Entry| entry.code == 0 || entry.tag == rip;
        let other = entries[first ^ 1];
        // Of another space it may be either, and is as good as any.
        let second = self::slot(salt, other.tag) != first ^ 1;
        let chosen = if is_free(entries[first]) || !is_free(other) && !second {
            first
        } else {
            first ^ 1
        };
        let left = &mut entries[chosen ^ 1];
        if left.tag == rip {
            *left = empty(chosen ^ 1);
        }
        chosen
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
            let kept = keep(index, entry.tag, notes[index]);
            if !kept {
                *entry = empty(slot);
            }
            kept
        });
    }

    /// After a flush of what is not global: that goes from the supervisor's tables.
    pub(crate) fn drop_local(&mut self) {
        self.crossings.clear_local();
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
            if notes[index] & GLOBAL == 0 && entry.code != 0 {
                *entry = empty(slot);
            }
        });
    }

    /// When numbers of spaces mean others than before.
    pub(crate) fn drop_user(&mut self) {
        self.retain(|place, _, _| place / ENTRIES != set::USER);
    }

    /// After a flush of everything, or when all code is gone.
    pub(crate) fn clear(&mut self) {
        self.crossings.clear();
        self.retain(|_, _, _| false);
        self.filled.clear();
    }

    /// After a flush of the linear page of `gla`, in whatever space.
    pub(crate) fn drop_linear(&mut self, gla: u64) {
        self.crossings.drop_linear(gla);
        let (tables, dead) = (self.tables, &self.dead);
        let drop = |place: u32| {
            let (table, slot) = (place as usize / ENTRIES, place as usize % ENTRIES);
            // SAFETY: see `tables_mut`; a place was filled only when there were tables.
            unsafe { (*tables)[table][slot] = empty(slot) };
        };
        self.filled
            .take_page(gla, |place| address(tables, dead, place), drop);
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
            if self.notes[index] & PAGE_MASK == page {
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

/// The linear address that an entry of the tables is filled for, if it may be looked for.
fn address(tables: *const [Table; TABLES], dead: &Numbers, place: u32) -> Option<u64> {
    let (table, slot) = (place as usize / ENTRIES, place as usize % ENTRIES);
    // SAFETY: see `Jumps::tables`.
    let entry = unsafe { tables.as_ref() }?[table][slot];
    let space = if table == set::USER {
        (slot ^ self::slot(0, entry.tag)) / WAYS
    } else {
        0
    };
    let is_dead = dead.get(space / 64)? >> (space % 64) & 1 != 0;
    (entry.code != 0 && !is_dead).then_some(entry.tag)
}

/// An entry whose tag is never looked up in `slot`. Address zero is looked up in the first slots, two for
/// each space, and the other tag in others.
pub(super) fn empty(slot: usize) -> Entry {
    let tag = if slot < OF_ZERO { ELSEWHERE } else { 0 };
    Entry { tag, code: 0 }
}

/// An address with a hash far from zero's.
const ELSEWHERE: u64 = 1;

#[cfg(test)]
mod tests;
