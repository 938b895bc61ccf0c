//! Which entries of the TLB's first level have something in them, so that a flush looks at those alone.
//!
//! Translated code marks what it copies from the second level, so the marks are flat bitmaps at a
//! constant place. A kernel's pages are mostly global, and flushes mostly spare them: they have marks
//! of their own.

use super::ENTRIES;
use super::used::for_bits;

const WORDS: usize = ENTRIES / 64;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Marks {
    pub(crate) local: [u64; WORDS],
    pub(crate) global: [u64; WORDS],
}

impl Marks {
    pub(super) const fn none() -> Marks {
        Marks {
            local: [0; WORDS],
            global: [0; WORDS],
        }
    }

    /// An entry may be noted as both.
    pub(super) fn note(&mut self, place: usize, global: bool) {
        let words = if global {
            &mut self.global
        } else {
            &mut self.local
        };
        words[place / 64] |= 1 << (place % 64);
    }

    /// Shows every place to `keep`, some twice; what it does not keep is marked no longer.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for words in [&mut self.local, &mut self.global] {
            for (index, word) in words.iter_mut().enumerate() {
                for_bits(*word, |low| {
                    if !keep(64 * index + low) {
                        *word &= !(1 << low);
                    }
                });
            }
        }
    }

    /// Forgets all places that are noted as local, after showing them.
    pub(super) fn take_local(&mut self, mut show: impl FnMut(usize)) {
        for (index, word) in self.local.iter_mut().enumerate() {
            for_bits(std::mem::take(word), |low| show(64 * index + low));
        }
    }

    pub(super) fn for_each(&self, mut show: impl FnMut(usize)) {
        for words in [&self.local, &self.global] {
            for (index, &word) in words.iter().enumerate() {
                for_bits(word, |low| show(64 * index + low));
            }
        }
    }
}
