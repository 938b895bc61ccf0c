//! Some of a guest's pages, by their numbers: a bit each.

use std::ops::Range;

/// Pages are numbered through all RAM, range after range, as in a record of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
    /// How many pages there could be.
    all: u64,
    count: u64,
}

impl PageSet {
    /// None of `all` pages.
    #[must_use]
    pub fn new(all: u64) -> PageSet {
        PageSet {
            words: vec![0; usize::try_from(all.div_ceil(64)).unwrap_or(0)],
            all,
            count: 0,
        }
    }

    /// How many pages there could be.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.all
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[must_use]
    pub fn contains(&self, page: u64) -> bool {
        let (word, bit) = place(page);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts a page in; one that there could not be stays out.
    pub fn insert(&mut self, page: u64) {
        let (word, bit) = place(page);
        if let Some(word) = self.words.get_mut(word).filter(|_| page < self.all)
            && *word & bit == 0
        {
            *word |= bit;
            self.count += 1;
        }
    }

    /// Takes a page out. False where it was not in.
    pub fn remove(&mut self, page: u64) -> bool {
        let (word, bit) = place(page);
        match self.words.get_mut(word) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                self.count -= 1;
                true
            }
            _ => false,
        }
    }

    /// The first page that is in, from `page` on.
    #[must_use]
    pub fn next(&self, page: u64) -> Option<u64> {
        let (first, bit) = place(page);
        let words = self.words.iter().enumerate().skip(first);
        let mut masked = words.map(|(index, word)| match index == first {
            true => (index, word & !(bit - 1)),
            false => (index, *word),
        });
        let (index, word) = masked.find(|(_, word)| *word != 0)?;
        Some(index as u64 * 64 + u64::from(word.trailing_zeros()))
    }

    /// Pages one behind the other, ascending.
    #[must_use]
    pub fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut from = 0;
        while let Some(page) = self.next(from) {
            match runs.last_mut() {
                Some(run) if run.end == page => run.end += 1,
                _ => runs.push(page..page + 1),
            }
            from = page + 1;
        }
        runs
    }
}

fn place(page: u64) -> (usize, u64) {
    let word = usize::try_from(page / 64).unwrap_or(usize::MAX);
    (word, 1 << (page % 64))
}

#[cfg(test)]
mod tests;
