//! Which units may run although their only instruction crosses into the next page.
//!
//! A unit belongs to the page it begins in, and dies with it. One whose instruction has its last bytes
//! in the following linear page also depends on what that page is mapped to, and on the bytes there. So
//! it begins by asking whether that was seen to be so since the last change of mappings or of code:
//! its slot here then holds the linear page that the unit runs in. Otherwise it leaves, and the
//! translator looks again.

use rustc_hash::FxHashSet;

use super::mode::Mode;

const SLOTS: usize = 256;
/// Of user mode and two supervisor ones, which may not fetch the same pages.
const SETS: usize = 4;
/// Never the address of a page.
const EMPTY: u64 = 1;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Crossings {
    /// Linear pages, found by translated code at a constant place.
    slots: [u64; SLOTS],
    /// Guest-physical pages that filled slots depend on.
    seconds: FxHashSet<u64>,
}

/// Where units of guest-physical page `page` look. Two pages that share a slot cannot be mapped at one
/// linear address without a flush between.
pub(super) fn slot(page: u64, mode: Mode) -> usize {
    (page >> 12) as usize % (SLOTS / SETS) * SETS + mode.set()
}

impl Crossings {
    pub(super) const fn offset(slot: usize) -> usize {
        slot * size_of::<u64>()
    }

    pub(super) fn new() -> Crossings {
        Crossings {
            slots: [EMPTY; SLOTS],
            seconds: FxHashSet::default(),
        }
    }

    /// The unit that looks at `slot` may run in linear page `linear`: the next one is mapped to
    /// `second`, and has the bytes that it was made of.
    pub(super) fn allow(&mut self, slot: usize, linear: u64, second: u64) {
        self.slots[slot] = linear;
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
