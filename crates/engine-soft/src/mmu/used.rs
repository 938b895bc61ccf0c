//! Which slots of a table have something in them, so that a flush looks at those alone.
//!
//! Guests flush often and fill little in between: a system call with page-table isolation, a task
//! switch, a change of CR0.WP. Looking through the whole table for what to drop cost more than all
//! the rest of such an instruction, and threw everything else out of the host's nearest cache. So
//! there is a bitmap of the slots, and one of the words of that bitmap which are not zero; and all of
//! it twice, since a flush mostly spares global mappings, which are most of a kernel's.

/// Slots in use, those of global mappings apart.
#[derive(Debug)]
pub(crate) struct Used {
    local: Slots,
    global: Slots,
}

impl Used {
    pub(crate) fn none(slots: usize) -> Used {
        Used {
            local: Slots::none(slots),
            global: Slots::none(slots),
        }
    }

    /// Slots beyond the last are not a table's. A slot may be noted as both.
    pub(crate) fn note(&mut self, slot: usize, global: bool) {
        if global {
            self.global.note(slot);
        } else {
            self.local.note(slot);
        }
    }

    /// Shows every slot to `keep`, some twice; what it does not keep is used no longer.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        self.local.retain(&mut keep);
        self.global.retain(keep);
    }

    /// Forgets all slots that are noted as local, after showing them. Those whose mapping is global by
    /// now are noted as that too.
    pub(crate) fn take_local(&mut self, mut show: impl FnMut(usize)) {
        self.local.retain(|slot| {
            show(slot);
            false
        });
    }
}

/// A set of slot numbers below a bound.
#[derive(Debug)]
struct Slots {
    words: Box<[u64]>,
    /// Bit n: `words[n]` may be other than zero.
    summary: Box<[u64]>,
}

impl Slots {
    fn none(slots: usize) -> Slots {
        let words = slots.div_ceil(64);
        Slots {
            words: vec![0; words].into_boxed_slice(),
            summary: vec![0; words.div_ceil(64)].into_boxed_slice(),
        }
    }

    fn note(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
            self.summary[slot / 4096] |= 1 << (slot / 64 % 64);
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
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
}

/// Shows the number of each bit that is set.
pub(crate) fn for_bits(word: u64, mut show: impl FnMut(usize)) {
    let mut left = word;
    while left != 0 {
        show(left.trailing_zeros() as usize);
        left &= left - 1;
    }
}

#[cfg(test)]
mod tests;
