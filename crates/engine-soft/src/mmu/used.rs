//! Which slots of a table have something in them, so that a flush looks at those alone.
//!
//! Guests flush often and fill little in between: a system call with page-table isolation, a task
//! switch, a change of CR0.WP. Looking through the whole table for what to drop cost more than all
//! the rest of such an instruction, and threw everything else out of the host's nearest cache.

/// A set of slot numbers below `64 * WORDS`.
#[derive(Debug)]
pub(crate) struct Used<const WORDS: usize> {
    words: [u64; WORDS],
}

impl<const WORDS: usize> Used<WORDS> {
    pub(crate) const fn none() -> Self {
        Used { words: [0; WORDS] }
    }

    /// Slots beyond the last are not a table's.
    pub(crate) fn note(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Shows every slot to `keep`; what it does not keep is used no longer.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                if !keep(64 * index + bit.trailing_zeros() as usize) {
                    *word ^= bit;
                }
            }
        }
    }

    pub(crate) fn for_each(&self, mut show: impl FnMut(usize)) {
        for (index, &word) in self.words.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                show(64 * index + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
