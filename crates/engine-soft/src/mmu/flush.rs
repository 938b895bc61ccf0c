//! Forgetting what the TLB knows: all, what is not global, a page.

use super::second_raw;
use super::{
    FETCH_ENTRIES, Flushed, Mmu, NO_FETCH, PAGE_MASK, SET_ENTRIES, empty, place, slot,
    ways_and_sets,
};
use crate::translate::jumps_raw::Jumps;

impl Mmu {
    /// Takes out of `jumps` what was flushed here since last time. Answers whether there was any.
    pub(crate) fn tell_jumps(&mut self, jumps: &mut Jumps) -> bool {
        if self.flushed == Flushed::default() {
            return false;
        }
        let flushed = std::mem::take(&mut self.flushed);
        if flushed.all {
            jumps.clear();
        } else if flushed.local {
            jumps.drop_local();
        }
        if let Some(gla) = flushed.large {
            jumps.drop_large(gla);
        }
        for gla in flushed.pages.into_iter().take(flushed.count) {
            jumps.drop_linear(gla);
        }
        true
    }

    pub(crate) fn flush_all(&mut self) {
        self.flush_data();
        self.flush_fetch();
        self.flushed.all = true;
        self.large_seen.clear();
    }

    /// Flushes what data accesses use.
    pub(crate) fn flush_data(&mut self) {
        self.beside.clear();
        self.second.drop_all(&mut self.used);
        self.used.retain(|place| {
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

    /// Flushes what a load of CR3 flushes: everything that is not global.
    pub(crate) fn flush_local(&mut self) {
        self.beside.clear();
        self.second.drop_local(&mut self.used);
        self.used
            .take_local(|place| self.entries[place] = empty(place % SET_ENTRIES));
        self.flushed.local = true;
        self.fetch_used.take_local(|slot| {
            if !self.fetch[slot].kind.global {
                self.fetch[slot] = NO_FETCH;
            }
        });
    }

    /// INVLPG: flushes the page of `gla`, all of it if it is a large page, global or not.
    pub(crate) fn flush_page(&mut self, gla: u64) {
        let page = gla & PAGE_MASK;
        for (way, set) in ways_and_sets() {
            self.entries[place(way, set, page)] = empty(slot(page));
            self.second.drop_page(second_raw::table(way, set), page);
        }
        self.beside.drop_page(page);
        for first in [0, FETCH_ENTRIES] {
            self.fetch[first + Self::fetch_slot(page)] = NO_FETCH;
        }
        self.flushed.page(gla);
        if let Some(shift) = self.large_seen.shift_at(gla) {
            self.flush_large(gla, shift);
        }
    }

    /// Flushes what lies with `gla` in a piece of linear space of `1 << shift` bytes.
    pub(super) fn flush_large(&mut self, gla: u64, shift: u32) {
        self.beside.clear();
        // Small pages among them go too.
        let other = |tag: u64| (tag ^ gla) >> shift != 0;
        self.second
            .retain(&mut self.used, |_, entry| other(entry.tag));
        self.used.retain(|place| {
            let kept = self.entries[place].host != 0 && other(self.entries[place].tag);
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
