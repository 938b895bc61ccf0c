//! Which blocks are plugged.

use serde::{Deserialize, Serialize};

/// One bit a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blocks {
    bits: Vec<u64>,
    count: u64,
}

/// What of some blocks is plugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plugged {
    All,
    None,
    Some,
}

impl Blocks {
    pub(super) fn new(count: u64) -> Blocks {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(0);
        Blocks {
            bits: vec![0; words],
            count,
        }
    }

    /// Is this the state of so many blocks?
    pub(super) fn is_of(&self, count: u64) -> bool {
        let beyond = (self.count..self.bits.len() as u64 * 64).any(|block| self.has(block));
        self.count == count && self.bits.len() as u64 == count.div_ceil(64) && !beyond
    }

    pub(super) fn plugged(&self) -> u64 {
        self.bits
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    fn has(&self, block: u64) -> bool {
        let word = usize::try_from(block / 64).ok();
        let word = word.and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word >> (block % 64) & 1 != 0)
    }

    /// Of `count` blocks, which exist, from `first` on.
    pub(super) fn look(&self, first: u64, count: u64) -> Plugged {
        let plugged = (first..first + count).filter(|&block| self.has(block));
        match plugged.count() as u64 {
            0 => Plugged::None,
            all if all == count => Plugged::All,
            _ => Plugged::Some,
        }
    }

    pub(super) fn set(&mut self, first: u64, count: u64, plugged: bool) {
        for block in first..first + count {
            let word = usize::try_from(block / 64).ok();
            if let Some(word) = word.and_then(|word| self.bits.get_mut(word)) {
                let bit = 1 << (block % 64);
                *word = if plugged { *word | bit } else { *word & !bit };
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
    }
}
