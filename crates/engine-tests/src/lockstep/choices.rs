//! Where a program's decisions come from: a seed, or a fuzzer's bytes.

/// Takes decisions one by one. The same source always makes the same ones.
#[derive(Debug, Clone)]
pub struct Choices<'a> {
    source: Source<'a>,
}

#[derive(Debug, Clone)]
enum Source<'a> {
    /// xorshift64*
    Seed(u64),
    /// After the last byte, zeroes come.
    Bytes(&'a [u8]),
}

impl<'a> Choices<'a> {
    /// Those of case `number` of a seed.
    #[must_use]
    pub fn of_case(seed: u64, number: u64) -> Choices<'static> {
        let both = seed.wrapping_mul(0x1_0000_0001).wrapping_add(number);
        let mixed = both.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
        Choices {
            source: Source::Seed(mixed | 1),
        }
    }

    #[must_use]
    pub fn of_bytes(bytes: &'a [u8]) -> Choices<'a> {
        Choices {
            source: Source::Bytes(bytes),
        }
    }

    /// 64 bits, of which a fuzzer spends `bytes`.
    fn take(&mut self, bytes: usize) -> u64 {
        match &mut self.source {
            Source::Seed(state) => {
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                state.wrapping_mul(0x2545_f491_4f6c_dd1d)
            }
            Source::Bytes(rest) => {
                let (taken, left) = rest.split_at(bytes.min(rest.len()));
                *rest = left;
                let mut value = [0; 8];
                value[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(value)
            }
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.take(8)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        let bytes = if limit <= 0x100 { 1 } else { 2 };
        let value = self.take(bytes);
        match self.source {
            Source::Seed(_) => (value >> 11) % limit,
            Source::Bytes(_) => value % limit,
        }
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == one_in - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }

    /// Edges far more often than chance would.
    pub(crate) fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(64),
            1 => u64::MAX - self.below(64),
            2 => 1 << self.below(64),
            3 => (1u64 << self.below(64)).wrapping_sub(1),
            4 => self.next() & 0xffff_ffff,
            5 => self.next() & self.next(),
            _ => self.next(),
        }
    }

    /// Bits of two singles or one double, special values among them, or an integer.
    pub(crate) fn lane(&mut self) -> u64 {
        let double = [
            0,
            1 << 63,
            0x3ff0_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0x7ff8_0000_0000_0001,
            0x7ff0_0000_0000_0001,
            0x000f_ffff_ffff_ffff,
            0x4340_0000_0000_0000,
        ];
        let single = [
            0u64,
            0x3f80_0000,
            0x7f80_0000,
            0x7fc0_0000,
            0x7f80_0001,
            0x007f_ffff,
            0x4b00_0000,
            0xbf80_0000,
        ];
        match self.below(4) {
            0 => self.pick(&double),
            1 => self.pick(&single) | self.pick(&single) << 32,
            2 => self.integer(),
            _ => self.next(),
        }
    }
}
