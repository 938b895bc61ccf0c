//! Which guest-physical pages this vCPU has claimed for writing (see `memory::PageTracker`), and where
//! the TLB lets them be written directly.
//!
//! A line that code is decoded from may be written directly no more. Code comes and goes all the
//! time (a JIT, a kernel that patches itself), so the entries to end are looked up, not looked for.
//! Two places are remembered for each page of RAM, which is often written through a process's own
//! address and through the kernel's; where there were more, all entries are looked through, once, and
//! then there are none.

use super::SET_ENTRIES;
use super::second_raw::SLOT_BITS;

/// Of one region of RAM, by page. Pages that were never written cost nothing.
#[derive(Debug)]
pub(super) struct Writers {
    /// Zero, [`PAST`], [`MANY`], or in each half a place with [`VALID`], or nothing.
    pages: Box<[u64]>,
}

const VALID: u32 = 1 << 31;
const PAST: u64 = 1 << 30;
const MANY: u64 = u64::MAX;

/// Slots of a linear page in the first level, and in the second as one address space knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) first: usize,
    pub(super) second: usize,
}

impl Slots {
    pub(super) fn of(page: u64, tag: u64) -> Slots {
        Slots {
            first: super::slot(page),
            second: super::second_raw::slot(tag),
        }
    }

    fn packed(self) -> u32 {
        VALID | (self.first << SLOT_BITS | self.second) as u32
    }

    fn unpacked(packed: u32) -> Option<Slots> {
        (packed & VALID != 0).then_some(Slots {
            first: packed as usize >> SLOT_BITS & (SET_ENTRIES - 1),
            second: packed as usize & ((1 << SLOT_BITS) - 1),
        })
    }
}

/// Who may write a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Nobody,
    /// Entries in these slots, if there are any left.
    Known([Option<Slots>; 2]),
    Many,
}

impl Writers {
    pub(super) fn none(pages: usize) -> Writers {
        Writers {
            pages: vec![0; pages].into_boxed_slice(),
        }
    }

    /// From now on page `page` may be written by way of these slots. `holds` tells whether it still may
    /// be by way of others.
    pub(super) fn note(&mut self, page: usize, slots: Slots, holds: impl Fn(Slots) -> bool) {
        let Some(known) = self.pages.get_mut(page) else {
            return;
        };
        let one = slots.packed();
        let halves = [*known as u32, (*known >> 32) as u32];
        if *known == MANY || halves.contains(&one) {
            return;
        }
        let gone = halves.map(|half| !Slots::unpacked(half).is_some_and(&holds));
        *known = match (halves, gone) {
            (_, [true, true]) => u64::from(one),
            ([_, high], [true, false]) => u64::from(one) | u64::from(high) << 32,
            ([low, _], [false, true]) => u64::from(low) | u64::from(one) << 32,
            _ => MANY,
        };
    }

    /// Page `page` is written now, whoever else may write it.
    pub(super) fn note_past(&mut self, page: usize) {
        if let Some(known @ 0) = self.pages.get_mut(page) {
            *known = PAST;
        }
    }

    /// Takes all pages that were noted, by number, and shows them.
    pub(super) fn take_all(&mut self, mut show: impl FnMut(usize)) {
        for (page, known) in self.pages.iter_mut().enumerate() {
            // Pages of this table that were never written to are not to be now.
            if *known != 0 {
                *known = 0;
                show(page);
            }
        }
    }

    /// Who may write the page, or has written it; nobody may afterwards.
    pub(super) fn take(&mut self, page: usize) -> Writer {
        let Some(known) = self.pages.get_mut(page).filter(|known| **known != 0) else {
            return Writer::Nobody;
        };
        match std::mem::take(known) {
            MANY => Writer::Many,
            known => Writer::Known([known as u32, (known >> 32) as u32].map(Slots::unpacked)),
        }
    }
}

#[cfg(test)]
mod tests;
