//! Which slots of a table have something in them, so that a flush looks at those alone.
//!
//! Guests flush often and fill little in between: a system call with page-table isolation, a task
//! switch, a change of CR0.WP. Looking through the whole table for what to drop cost more than all
//! the rest of such an instruction, and threw everything else out of the host's nearest cache. A
//! bitmap of the slots, and one of the words of that bitmap which are not zero.

/// A set of slot numbers below a bound.
#[derive(Debug)]
pub(crate) struct Used {
    words: Box<[u64]>,
    /// Bit n: `words[n]` may be other than zero.
    summary: Box<[u64]>,
}

impl Used {
    pub(crate) fn none(slots: usize) -> Used {
        let words = slots.div_ceil(64);
        Used {
            words: vec![0; words].into_boxed_slice(),
            summary: vec![0; words.div_ceil(64)].into_boxed_slice(),
        }
    }

    /// Slots beyond the last are not a table's.
    pub(crate) fn note(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
            self.summary[slot / 4096] |= 1 << (slot / 64 % 64);
        }
    }

    /// Shows every slot to `keep`; what it does not keep is used no longer.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for (high, summary) in self.summary.iter_mut().enumerate() {
            for_bits(*summary, |middle| {
                let index = 64 * high + middle;
                let word = &mut self.words[index];
                for_bits(*word, |low| {
                    if !keep(64 * index + low) {
                        *word &= !(1 << low);
                    }
                });
                if *word == 0 {
                    *summary &= !(1 << middle);
                }
            });
        }
    }

    pub(crate) fn for_each(&self, mut show: impl FnMut(usize)) {
        for (high, &summary) in self.summary.iter().enumerate() {
            for_bits(summary, |middle| {
                let index = 64 * high + middle;
                for_bits(self.words[index], |low| show(64 * index + low));
            });
        }
    }
}

/// Shows the number of each bit that is set.
fn for_bits(word: u64, mut show: impl FnMut(usize)) {
    let mut left = word;
    while left != 0 {
        show(left.trailing_zeros() as usize);
        left &= left - 1;
    }
}

#[cfg(test)]
mod tests;
