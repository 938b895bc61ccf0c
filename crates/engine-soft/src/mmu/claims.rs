//! Which pages this vCPU writes, and how that ends when code is decoded from them (see
//! `memory::PageTracker`).

use memory::{GuestMemory, Lines, Named};

use super::writers::{Slots, Writer};
use super::{Mmu, PAGE_MASK, SET_ENTRIES, WAY_ENTRIES, Way, empty, first, set};

impl Mmu {
    /// `lines` of the page at `gpa` are about to be written. Answers whether that was news to anybody.
    pub(crate) fn note_write(&mut self, gpa: u64, lines: Lines) -> bool {
        let Some(region) = self.region_mut(gpa) else {
            return false;
        };
        let page = region.page(gpa);
        region.writers.note_past(page);
        let told = region.tracker.claim(page).meets(lines);
        if told {
            region.tracker.note_write(page, lines);
        }
        told
    }

    /// All but `code` of the page at `gpa` may be written through linear page `gla`. `set` is one of
    /// [`set`].
    pub(super) fn fill_beside(&mut self, set: usize, gla: u64, gpa: u64, code: Lines) {
        if let Some(host) = self.note_writer(gla, gla | self.spaces.number, gpa) {
            let tag = gla | self.spaces.number;
            self.beside.fill(set, tag, (gpa, host), code);
        }
    }

    /// The page at `gpa` may be written through linear page `gla`, which the second level knows by `tag`.
    /// Answers where it is.
    pub(super) fn note_writer(&mut self, gla: u64, tag: u64, gpa: u64) -> Option<u64> {
        let Mmu {
            regions,
            entries,
            second,
            beside,
            ..
        } = self;
        let mut regions = regions.iter_mut();
        let region = regions.find(|region| gpa.wrapping_sub(region.base) < region.len)?;
        let host = region.host + (gpa - region.base);
        let holds = |slots: Slots| {
            let mut places = (0..set::CHECKED).map(|set| first(Way::Write, set) + slots.first);
            places.any(|place| entries[place].host() == host)
                || second.holds_write(slots.second, host)
                || beside.holds(slots.first, gpa)
        };
        region.writers.note(
            ((gpa - region.base) >> 12) as usize,
            Slots::of(gla, tag),
            holds,
        );
        Some(host)
    }

    /// Stops direct writes to pages that code was decoded from meanwhile, or that the log wants to hear
    /// of again. As they may have been written here since, their blocks die.
    pub(crate) fn give_up_writes(&mut self, named: &Named) {
        match named {
            Named::Pages(pages) => {
                for page in pages {
                    self.give_up_writes_to(page.0);
                }
            }
            Named::All => {
                self.end_direct_writes(None);
                self.beside.clear();
                for region in &mut self.regions {
                    let tracker = &region.tracker;
                    region.writers.take_all(|page| {
                        if !tracker.guarded(page).is_empty() {
                            tracker.note_write(page, Lines::ALL);
                        }
                    });
                }
            }
        }
    }

    /// Learns where device memory lies now.
    pub(crate) fn remap(&mut self, memory: &GuestMemory) {
        // What was claimed is not known any more afterwards.
        self.give_up_writes(&Named::All);
        self.map(memory);
    }

    pub(super) fn give_up_writes_to(&mut self, gpa: u64) {
        if self.drop_writes_to(gpa)
            && let Some((tracker, page)) = self.tracker(gpa)
        {
            tracker.note_write(page, Lines::ALL);
        }
    }

    /// Ends direct writes to all pages, or to the one at host address `host`.
    pub(super) fn end_direct_writes(&mut self, host: Option<u64>) {
        let ends = |entry: u64| host.is_none_or(|host| entry == host);
        self.second
            .retain(|way, entry| way == Way::Read || !ends(entry.host));
        self.marks.for_each(|place| {
            let entry = &mut self.entries[place];
            if place >= WAY_ENTRIES && ends(entry.host()) {
                *entry = empty(place % SET_ENTRIES);
            }
        });
    }

    /// This vCPU is about to decode code from the page: its own direct writes to it end. Answers
    /// whether it has written the page since that happened last, or may have.
    pub(crate) fn drop_writes_to(&mut self, gpa: u64) -> bool {
        let page = gpa & PAGE_MASK;
        let Some(region) = self.region_mut(page) else {
            return false;
        };
        let host = region.host + (page - region.base);
        let index = region.page(page);
        match region.writers.take(index) {
            Writer::Nobody => return false,
            Writer::Many => {
                self.beside.drop_physical(page);
                self.end_direct_writes(Some(host));
            }
            Writer::Known(slots) => {
                for slots in slots.into_iter().flatten() {
                    for set in 0..set::CHECKED {
                        let entry = &mut self.entries[first(Way::Write, set) + slots.first];
                        if entry.host() == host {
                            *entry = empty(slots.first);
                        }
                    }
                    self.second.end_write(slots.second, host);
                    self.beside.drop_slot(slots.first, page);
                }
            }
        }
        true
    }
}
