//! Which guest-physical pages this vCPU has claimed for writing (see `memory::PageTracker`), and through
//! which linear pages the TLB lets them be written directly.
//!
//! A line that code is decoded from may be written directly no more. Code comes and goes all the
//! time (a JIT, a kernel that patches itself), so the entries to end are looked up, not looked for.
//! One linear page is remembered for each page of RAM; where there were several, all entries are
//! looked through, once, and then there are none.

/// Of one region of RAM, by page. Pages that were never written cost nothing.
#[derive(Debug)]
pub(super) struct Writers {
    /// Zero, [`PAST`], a linear page with [`ONE`], or [`SEVERAL`].
    pages: Box<[u64]>,
}

const ONE: u64 = 1;
const SEVERAL: u64 = 2;
const PAST: u64 = 4;

/// Who may write a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Nobody,
    /// It was written, but nobody may.
    Past,
    /// Entries of this linear page, if there are any left.
    Linear(u64),
    Several,
}

impl Writers {
    pub(super) fn none(pages: usize) -> Writers {
        Writers {
            pages: vec![0; pages].into_boxed_slice(),
        }
    }

    /// From now on page `page` may be written through the linear page `gla`.
    pub(super) fn note(&mut self, page: usize, gla: u64) {
        if let Some(known) = self.pages.get_mut(page) {
            *known = match *known {
                0 | PAST => gla | ONE,
                same if same == gla | ONE => same,
                _ => SEVERAL,
            };
        }
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

    /// Who may write the page; nobody may afterwards.
    pub(super) fn take(&mut self, page: usize) -> Writer {
        let Some(known) = self.pages.get_mut(page).filter(|known| **known != 0) else {
            return Writer::Nobody;
        };
        match std::mem::take(known) {
            PAST => Writer::Past,
            SEVERAL => Writer::Several,
            one => Writer::Linear(one & !ONE),
        }
    }
}

#[cfg(test)]
mod tests;
