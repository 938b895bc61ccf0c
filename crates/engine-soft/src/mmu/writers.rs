//! Through which linear pages the TLB lets a guest-physical page be written directly.
//!
//! A page that code is decoded from may be written directly no more. Code comes and goes all the
//! time (a JIT, a kernel that patches itself), so the entries to end are looked up, not looked for.
//! One linear page is remembered for each page of RAM; where there were several, all entries are
//! looked through, once, and then there are none.

/// Of one region of RAM, by page. Pages that were never written cost nothing.
#[derive(Debug)]
pub(super) struct Writers {
    /// Zero, a linear page with [`ONE`], or [`SEVERAL`].
    pages: Box<[u64]>,
}

const ONE: u64 = 1;
const SEVERAL: u64 = 2;

/// Who may write a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Nobody,
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
                0 => gla | ONE,
                same if same == gla | ONE => same,
                _ => SEVERAL,
            };
        }
    }

    /// Who may write the page; nobody may afterwards.
    pub(super) fn take(&mut self, page: usize) -> Writer {
        match self.pages.get_mut(page).map(std::mem::take) {
            None | Some(0) => Writer::Nobody,
            Some(SEVERAL) => Writer::Several,
            Some(one) => Writer::Linear(one & !ONE),
        }
    }
}

#[cfg(test)]
mod tests;
