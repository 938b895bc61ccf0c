//! Direct writes to data that lies on a page with decoded code.
//!
//! Such a page has no entry for writes in the TLB proper, whose hits look at nothing. Here it has one
//! that says which lines hold code; a write that meets none of them is done in place. Translated
//! code looks here last (`translate::runtime_raw`), the interpreter before it walks the page tables.
//! The lines are what the page's tracker answered to a claim: they stay good until the vCPU hears from
//! its bell, or decodes there itself.

use memory::Lines;

use super::spaces::NOBODY;
use super::{PAGE_MASK, set};

/// Of one kind of access. Guests have few such pages at a time.
const ENTRIES: usize = 64;

const EMPTY_TAG: u64 = NOBODY;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Entry {
    /// Linear page, and the number of the address space.
    pub(crate) tag: u64,
    /// Host address of the page.
    pub(crate) host: u64,
    /// Lines that may not be written, as [`Lines`].
    pub(crate) code: u64,
    /// Guest-physical page.
    gpa: u64,
}

const EMPTY: Entry = Entry {
    tag: EMPTY_TAG,
    host: 0,
    code: 0,
    gpa: 0,
};

/// Byte offset of an entry in its set, from its page's number shifted by log2 of an entry's size.
pub(crate) const OFFSET_MASK: u32 = ((ENTRIES - 1) * size_of::<Entry>()) as u32;

/// One set for each kind of access but the one that is never filled. Read by translated code.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Beside {
    sets: [[Entry; ENTRIES]; set::CHECKED],
    /// Something may be in there.
    used: bool,
}

fn slot(gla: u64) -> usize {
    (gla >> 12) as usize % ENTRIES
}

impl Beside {
    /// Byte offset of a set.
    pub(crate) const fn set_at(set: usize) -> usize {
        set * size_of::<[Entry; ENTRIES]>()
    }

    pub(super) const fn none() -> Beside {
        Beside {
            sets: [[EMPTY; ENTRIES]; set::CHECKED],
            used: false,
        }
    }

    /// Host address for a write of `len` bytes at `gla` in the space with this number, if it meets no code.
    pub(super) fn find(&self, set: usize, gla: u64, len: u64, number: u64) -> Option<u64> {
        let offset = gla & !PAGE_MASK;
        let entry = self.sets.get(set)?[slot(gla)];
        let inside = entry.tag == gla & PAGE_MASK | number && offset + len <= 0x1000;
        let code = Lines(entry.code as u32);
        (inside && !Lines::of(offset, len).meets(code)).then(|| entry.host + offset)
    }

    /// The page at `gpa` may be written where `tag` says, but for the lines `code`.
    pub(super) fn fill(&mut self, set: usize, tag: u64, (gpa, host): (u64, u64), code: Lines) {
        if let Some(entries) = self.sets.get_mut(set) {
            entries[slot(tag)] = Entry {
                tag,
                host,
                code: code.0.into(),
                gpa,
            };
            self.used = true;
        }
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.used) {
            self.sets = [[EMPTY; ENTRIES]; set::CHECKED];
        }
    }

    /// Drops linear page `gla` of all address spaces.
    pub(super) fn drop_page(&mut self, gla: u64) {
        for entries in &mut self.sets {
            let entry = &mut entries[slot(gla)];
            if (entry.tag ^ gla) & PAGE_MASK == 0 {
                *entry = EMPTY;
            }
        }
    }

    /// Is guest-physical page `gpa` written where its linear page has slot `first` of the TLB's first level?
    pub(super) fn holds(&self, first: usize, gpa: u64) -> bool {
        let entries = self.sets.iter().map(|set| set[first % ENTRIES]);
        self.used
            && entries
                .into_iter()
                .any(|entry| entry.gpa == gpa && entry.tag != EMPTY_TAG)
    }

    /// Drops guest-physical page `gpa` where its linear page has slot `first` of the TLB's first level.
    pub(super) fn drop_slot(&mut self, first: usize, gpa: u64) {
        for entries in &mut self.sets {
            let entry = &mut entries[first % ENTRIES];
            if entry.gpa == gpa {
                *entry = EMPTY;
            }
        }
    }

    /// Drops guest-physical page `gpa`, by whatever way it is written.
    pub(super) fn drop_physical(&mut self, gpa: u64) {
        for entry in self.sets.iter_mut().flatten() {
            if entry.gpa == gpa && entry.tag != EMPTY_TAG {
                *entry = EMPTY;
            }
        }
    }
}

#[cfg(test)]
mod tests;
