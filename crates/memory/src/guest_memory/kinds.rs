//! What vCPUs find at each page: memory, ROM, or a device.

use super::{GuestMemory, RamRange};
use crate::{Gpa, Lines, PAGE_SIZE, PageKind};

impl GuestMemory {
    /// Makes all pages of `range` that are mapped of this kind. Software engines hear of it by their
    /// bells; KVM must be told.
    pub fn set_kind(&self, range: RamRange, kind: PageKind) {
        for page in self.pages_of(range) {
            if page.tracker.kind(page.index) != kind {
                page.tracker.set_kind(page.index, kind);
                // Code decoded from it is found anew.
                page.tracker.note_write(page.index, Lines::ALL);
            }
        }
        self.bells.remapped();
    }

    /// All that is mapped, in pieces of one kind, ascending.
    #[must_use]
    pub fn kinds(&self) -> Vec<(RamRange, PageKind)> {
        let mut pieces: Vec<(RamRange, PageKind)> = Vec::new();
        for range in self.mapped_ranges() {
            let Some(first) = self.host_page(range.base) else {
                continue;
            };
            let pages = usize::try_from(range.len / PAGE_SIZE).unwrap_or(usize::MAX);
            let mut at = 0;
            while at < pages {
                let count = first.tracker.same_kind(at, pages - at).max(1);
                let piece = RamRange {
                    base: Gpa(range.base.0 + at as u64 * PAGE_SIZE),
                    len: count as u64 * PAGE_SIZE,
                };
                pieces.push((piece, first.tracker.kind(at)));
                at += count;
            }
        }
        pieces
    }

    /// Every page of `range` that is mapped.
    pub(super) fn pages_of(&self, range: RamRange) -> impl Iterator<Item = super::HostPage> + '_ {
        let end = range.base.0.saturating_add(range.len);
        let pages = (range.base.page_base().0..end).step_by(4096);
        pages.filter_map(|page| self.host_page(Gpa(page)))
    }
}

#[cfg(test)]
mod tests;
