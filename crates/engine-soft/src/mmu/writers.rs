//! Through which linear pages the TLB lets a guest-physical page be written directly.
//!
//! A page that code is decoded from may be written directly no more. Code comes and goes all the
//! time (a JIT, a kernel that patches itself), so the entries to end are looked up, not looked for.

const BUCKETS: usize = 1024;
const MOST: usize = 4;

/// Guest-physical and linear page.
pub(super) type Pair = (u64, u64);

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    pairs: [Pair; MOST],
    count: usize,
    /// There were more than are noted.
    more: bool,
}

/// Pairs by a hash of the guest-physical page. Some may be over already.
#[derive(Debug)]
pub(super) struct Writers {
    buckets: Box<[Bucket]>,
}

fn hash(gpa: u64) -> usize {
    (gpa >> 12) as usize % BUCKETS
}

impl Writers {
    pub(super) fn none() -> Writers {
        Writers {
            buckets: vec![Bucket::default(); BUCKETS].into_boxed_slice(),
        }
    }

    /// Notes a pair. When there is no room, those are forgotten that `is_over` says are.
    pub(super) fn note(&mut self, pair: Pair, is_over: impl Fn(Pair) -> bool) {
        let bucket = &mut self.buckets[hash(pair.0)];
        if bucket.more || bucket.pairs[..bucket.count].contains(&pair) {
            return;
        }
        if bucket.count == MOST {
            bucket.count = 0;
            for known in bucket.pairs {
                if !is_over(known) {
                    bucket.pairs[bucket.count] = known;
                    bucket.count += 1;
                }
            }
        }
        match bucket.pairs.get_mut(bucket.count) {
            Some(free) => {
                *free = pair;
                bucket.count += 1;
            }
            None => bucket.more = true,
        }
    }

    /// The linear pages of a guest-physical one; `None` where not all are known.
    pub(super) fn of(&self, gpa: u64) -> Option<impl Iterator<Item = u64> + use<>> {
        let bucket = self.buckets[hash(gpa)];
        (!bucket.more).then(|| {
            (0..bucket.count)
                .map(move |n| bucket.pairs[n])
                .filter(move |pair| pair.0 == gpa)
                .map(|pair| pair.1)
        })
    }

    /// Nothing may be written directly any more.
    pub(super) fn clear(&mut self) {
        self.buckets.fill(Bucket::default());
    }
}

#[cfg(test)]
mod tests;
