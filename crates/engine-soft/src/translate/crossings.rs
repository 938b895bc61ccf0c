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

const SLOTS: usize = 256;
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

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Crossings {
    /// Found by translated code at a constant place.
    slots: [Slot; SLOTS],
    /// Guest-physical pages that filled slots depend on.
    seconds: FxHashSet<u64>,
}

/// Where units of guest-physical page `page` look. Two pages that share a slot cannot be mapped at one
/// linear address without a flush between.
pub(super) fn slot(page: u64, mode: Mode) -> usize {
    (page >> 12) as usize % (SLOTS / SETS) * SETS + mode.set()
}

impl Crossings {
    /// Where a slot's linear page is, from the beginning; its stamp follows.
    pub(super) const fn offset(slot: usize) -> usize {
        slot * size_of::<Slot>()
    }

    pub(super) fn new() -> Crossings {
        Crossings {
            slots: [EMPTY; SLOTS],
            seconds: FxHashSet::default(),
        }
    }

    /// The unit with this stamp, which looks at `slot`, may run in linear page `linear`: the next one is
    /// mapped to `second`, and has the bytes that it was made of.
    pub(super) fn allow(&mut self, slot: usize, stamp: u32, linear: u64, second: u64) {
        let stamp = stamp.into();
        self.slots[slot] = Slot { linear, stamp };
        self.seconds.insert(second);
    }

    /// Code in guest-physical page `page` died.
    pub(super) fn forget(&mut self, page: u64) {
        if self.seconds.contains(&page) {
            self.clear();
        }
    }

    /// Mappings changed.
    pub(super) fn clear(&mut self) {
        if !self.seconds.is_empty() {
            self.slots = [EMPTY; SLOTS];
            self.seconds.clear();
        }
    }
}
