//! Forgetting what the TLB knows: all, what is not global, an address space, a page.
//! Spec: Intel SDM Vol. 3, "Operations that Invalidate TLBs and Paging-Structure Caches".

use super::spaces::GLOBAL;
use super::{
    FETCH_ENTRIES, Mmu, NO_FETCH, PAGE_MASK, SET_ENTRIES, empty, fetch_slot, place, slot,
    ways_and_sets,
};
use crate::translate::jumps_raw::Jumps;

impl Mmu {
    /// Takes out of `jumps` what was flushed here since last time. Answers whether linear page `page` may
    /// have been.
    #[inline]
    pub(crate) fn tell_jumps(&mut self, jumps: &mut Jumps, page: u64) -> bool {
        self.news && self.tell_jumps_of_flush(jumps, page)
    }

    fn tell_jumps_of_flush(&mut self, jumps: &mut Jumps, page: u64) -> bool {
        self.news = false;
        let flushed = std::mem::take(&mut self.flushed);
        jumps.enter_space(self.spaces.number, &self.spaces.dead);
        if flushed.all {
            jumps.clear();
        } else if flushed.local {
            jumps.drop_local();
        }
        if flushed.user {
            jumps.drop_user();
        }
        if let Some(gla) = flushed.large {
            jumps.drop_large(gla);
        }
        let pages = &flushed.pages[..flushed.count];
        for gla in pages {
            jumps.drop_linear(*gla);
        }
        let many = flushed.all || flushed.local || flushed.large.is_some();
        // Where units run several times, none goes on after what it has done to the TLB.
        many || self.has_journal() || pages.iter().any(|gla| (gla ^ page) & PAGE_MASK == 0)
    }

    pub(crate) fn flush_all(&mut self) {
        self.flush_data();
        self.flush_fetch();
        self.spaces.forget_all();
        self.flushed.all = true;
        self.news = true;
        self.large_seen.clear();
    }

    /// Flushes what data accesses use.
    pub(crate) fn flush_data(&mut self) {
        self.beside.clear();
        self.second.drop_all();
        self.marks.retain(|place| {
            self.entries[place] = empty(place % SET_ENTRIES);
            false
        });
        self.keys_seen = false;
    }

    pub(super) fn flush_fetch(&mut self) {
        self.fetch_used.retain(|slot| {
            self.fetch[slot] = NO_FETCH;
            false
        });
    }

    /// The address space is `pcid`'s from now on, of which everything that is not global is flushed
    /// unless it is to be kept.
    pub(crate) fn enter_space(&mut self, pcid: u16, keep: bool) {
        if keep && pcid == self.spaces.pcid() {
            return;
        }
        if !keep {
            self.spaces.forget(pcid);
        }
        if !self.spaces.enter(pcid) {
            self.start_spaces_again();
        }
        self.marks
            .take_local(|place| self.entries[place] = empty(place % SET_ENTRIES));
        self.flushed.local = true;
        self.news = true;
    }

    /// All numbers of spaces have been given: flushes what has one, and gives them again.
    fn start_spaces_again(&mut self) {
        self.beside.clear();
        self.second.retain(|_, entry| entry.tag & GLOBAL != 0);
        self.fetch_used.retain(|slot| {
            let kept = self.fetch[slot].tag & GLOBAL != 0;
            if !kept {
                self.fetch[slot] = NO_FETCH;
            }
            kept
        });
        self.spaces.forget_all();
        self.flushed.user = true;
    }

    /// INVPCID for one: as a load of CR3, but the address space stays.
    pub(crate) fn flush_space(&mut self, pcid: u16) {
        if pcid == self.spaces.pcid() {
            self.enter_space(pcid, false);
        } else {
            self.spaces.forget(pcid);
        }
    }

    /// Flushes everything that is not global, of all address spaces.
    pub(crate) fn flush_spaces(&mut self) {
        self.spaces.forget_each();
        self.enter_space(self.spaces.pcid(), false);
    }

    /// Flushes everything, for a vCPU whose address space is `pcid`'s.
    pub(crate) fn start(&mut self, pcid: u16) {
        self.spaces.start(pcid);
        self.flush_all();
    }

    /// INVLPG: flushes the page of `gla`, all of it if it is a large page, global or not.
    pub(crate) fn flush_page(&mut self, gla: u64) {
        self.drop_page(gla & PAGE_MASK, self.spaces.number);
        self.flush_around(gla);
    }

    /// Likewise of another address space; global ones may go too.
    pub(crate) fn flush_page_of(&mut self, pcid: u16, gla: u64) {
        match self.spaces.number_of(pcid) {
            Some(number) => self.drop_page(gla & PAGE_MASK, number),
            None => return,
        }
        self.flush_around(gla);
    }

    /// Drops linear page `page` of the space with this number, and what is global there. The first level
    /// has it of the current space alone.
    fn drop_page(&mut self, page: u64, number: u64) {
        for (way, set) in ways_and_sets() {
            self.entries[place(way, set, page)] = empty(slot(page));
        }
        self.beside.drop_page(page);
        for tag in [page | number, page | GLOBAL] {
            self.second.drop_tag(tag);
            for first in [0, FETCH_ENTRIES] {
                let entry = &mut self.fetch[first + fetch_slot(tag)];
                if entry.tag == tag {
                    *entry = NO_FETCH;
                }
            }
        }
    }

    /// What else goes with a page: jumps to it, and the large page that it may be part of.
    fn flush_around(&mut self, gla: u64) {
        self.flushed.page(gla);
        self.news = true;
        if let Some(shift) = self.large_seen.shift_at(gla) {
            self.flush_large(gla, shift);
        }
    }

    /// Flushes what lies with `gla` in a piece of linear space of `1 << shift` bytes, of any address
    /// space.
    pub(super) fn flush_large(&mut self, gla: u64, shift: u32) {
        self.beside.clear();
        // Small pages among them go too.
        let other = |tag: u64| (tag ^ gla) >> shift != 0;
        self.second.retain(|_, entry| other(entry.tag));
        self.marks.retain(|place| {
            let kept = self.entries[place].host() != 0 && other(self.entries[place].tag);
            if !kept {
                self.entries[place] = empty(place % SET_ENTRIES);
            }
            kept
        });
        self.flushed.large(gla);
        self.fetch_used.retain(|slot| {
            let entry = self.fetch[slot];
            let hit = entry.kind.large && (entry.tag ^ gla) >> 30 == 0;
            if hit {
                self.fetch[slot] = NO_FETCH;
            }
            !hit
        });
    }
}
