//! Numbers that look random, always the same ones for one seed: xorshift64*.
//! Spec: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".

use core::cell::Cell;

pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `limit`, which is not 0.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// True once in `times`.
    pub(crate) fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[(self.next() >> 16) as usize % of.len()]
    }

    /// One, two, four or eight bytes.
    pub(crate) fn size(&self) -> u8 {
        1 << self.below(4)
    }

    /// A number as those who write past an end would choose it.
    pub(crate) fn odd(&self) -> u64 {
        let near = self.below(3).wrapping_sub(1);
        match self.below(6) {
            0 => self.next(),
            1 => (1u64 << self.below(64)).wrapping_add(near),
            2 => u64::MAX >> self.below(64),
            3 => self.below(0x1_0000),
            4 => near,
            _ => 0x200 << self.below(8),
        }
    }
}
