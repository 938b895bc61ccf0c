//! Which units may run although their only instruction crosses into the next page.
//!
//! A unit belongs to the page it begins in, and dies with it. One whose instruction has its last bytes
//! in the following linear page also depends on what that page is mapped to, and on the bytes there. So
//! it begins by asking whether that was seen to be so since the last change of mappings or of code:
//! its slot here then holds the linear page that the unit runs in, and the unit's stamp. Otherwise it
//! leaves, and the translator looks again. What a unit was made of may be gone while jumps still lead to
//! it; its stamp does not come back.

use rustc_hash::FxHashSet;

use super::mode::Mode;
use crate::mmu::PAGE_MASK;
use crate::mmu::used::for_bits;

/// A kernel's hot paths have hundreds of such instructions.
const SLOTS: usize = 4096;
/// Of user mode and two supervisor ones, which may not fetch the same pages.
const SETS: usize = 4;
/// Not the address of a page.
const EMPTY: Slot = Slot {
    linear: 1,
    stamp: 0,
};

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Slot {
    linear: u64,
    stamp: u64,
}

/// What a unit was found to be good for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) stamp: u32,
    /// The linear page that it runs in.
    pub(super) linear: u64,
    /// Guest-physical page that the next one is mapped to.
    pub(super) second: u64,
    /// Both are mapped globally.
    pub(super) global: bool,
}

/// Slots, a bit each.
type Numbers = [u64; SLOTS / 64];

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Crossings {
    /// Found by translated code at a constant place.
    slots: [Slot; SLOTS],
    /// Slots that are not empty, by number, and those of them where not both pages are mapped globally.
    filled: Numbers,
    local: Numbers,
    /// Linear pages that there may be slots for, by a hash.
    pages: Numbers,
    /// Guest-physical pages that filled slots depend on.
    seconds: FxHashSet<u64>,
}

/// Where units of guest-physical page `page` look. Two pages that share a slot cannot be mapped at one
/// linear address without a flush between.
pub(super) fn slot(page: u64, mode: Mode) -> usize {
    (page >> 12) as usize % (SLOTS / SETS) * SETS + mode.set()
}

/// Word and bit of a linear page.
fn bit_of(linear: u64) -> (usize, u64) {
    let hash = (linear >> 12 ^ linear >> 24) as usize % SLOTS;
    (hash / 64, 1 << (hash % 64))
}

impl Crossings {
    /// Where a slot's linear page is, from the beginning; its stamp follows.
    pub(super) const fn offset(slot: usize) -> usize {
        slot * size_of::<Slot>()
    }

    pub(super) fn new() -> Crossings {
        Crossings {
            slots: [EMPTY; SLOTS],
            filled: [0; SLOTS / 64],
            local: [0; SLOTS / 64],
            pages: [0; SLOTS / 64],
            seconds: FxHashSet::default(),
        }
    }

    /// The unit that looks at `slot` may run: the next page has the bytes that it was made of.
    pub(super) fn allow(&mut self, slot: usize, allowed: Allowed) {
        self.slots[slot] = Slot {
            linear: allowed.linear,
            stamp: allowed.stamp.into(),
        };
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        self.filled[word] |= bit;
        self.local[word] &= !bit;
        if !allowed.global {
            self.local[word] |= bit;
        }
        let (word, bit) = bit_of(allowed.linear);
        self.pages[word] |= bit;
        self.seconds.insert(allowed.second);
    }

    /// Code in guest-physical page `page` died.
    pub(super) fn forget(&mut self, page: u64) {
        if self.seconds.contains(&page) {
            self.clear();
        }
    }

    /// Mappings changed.
    pub(super) fn clear(&mut self) {
        let filled = std::mem::replace(&mut self.filled, [0; SLOTS / 64]);
        for (first, filled) in (0..).step_by(64).zip(filled) {
            for_bits(filled, |bit| self.slots[first + bit] = EMPTY);
        }
        (self.local, self.pages) = ([0; SLOTS / 64], [0; SLOTS / 64]);
        self.seconds.clear();
    }

    /// Those that are not global did.
    pub(super) fn clear_local(&mut self) {
        let local = std::mem::replace(&mut self.local, [0; SLOTS / 64]);
        for (first, local) in (0..).step_by(64).zip(local) {
            for_bits(local, |bit| self.slots[first + bit] = EMPTY);
        }
    }

    /// That of the page of `gla` did.
    pub(super) fn drop_linear(&mut self, gla: u64) {
        let page = gla & PAGE_MASK;
        let may_be = [page, page.wrapping_sub(0x1000)].map(bit_of);
        if may_be
            .iter()
            .all(|(word, bit)| self.pages[*word] & bit == 0)
        {
            return;
        }
        for (first, filled) in (0..).step_by(64).zip(self.filled) {
            for_bits(filled, |bit| {
                let slot = &mut self.slots[first + bit];
                if slot.linear == page || slot.linear.wrapping_add(0x1000) == page {
                    *slot = EMPTY;
                }
            });
        }
    }
}
