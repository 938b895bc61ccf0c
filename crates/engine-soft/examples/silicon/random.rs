//! Random values that find mistakes: edges far more often than chance would.

/// xorshift64*: the same stream from the same seed everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
        Random(mixed | 1)
    }

    /// The stream of case `number` of a seed.
    pub(crate) fn for_case(seed: u64, number: u64) -> Random {
        Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

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

    fn single(&mut self) -> u32 {
        let sign = (self.next() as u32) & 0x8000_0000;
        sign | match self.below(12) {
            0 => 0,
            1 => 0x7f80_0000,
            2 => 0x7fc0_0000 | self.next() as u32 & 0x3f_ffff,
            3 => 0x7f80_0001 | self.next() as u32 & 0x3f_ffff,
            4 => self.next() as u32 & 0x7f_ffff,
            5 => 0x3f80_0000,
            6 => (self.below(1000) as f32).to_bits(),
            7 => 0x7f00_0000 | self.next() as u32 & 0xff_ffff,
            8 => 0x0080_0000 | self.next() as u32 & 0x7f_ffff,
            9 => 0x4b00_0000 + (self.next() as u32 & 0xff_ffff),
            _ => self.next() as u32 & 0x7fff_ffff,
        }
    }

    fn double(&mut self) -> u64 {
        let sign = self.next() & 1 << 63;
        let fraction = self.next() & 0xf_ffff_ffff_ffff;
        sign | match self.below(12) {
            0 => 0,
            1 => 0x7ff << 52,
            2 => 0xfff << 51 | fraction >> 1,
            3 => 0x7ff << 52 | fraction >> 1 | 1,
            4 => fraction,
            5 => 0x3ff << 52,
            6 => (self.below(1000) as f64).to_bits(),
            7 => 0x7fe << 52 | fraction,
            8 => 1 << 52 | fraction,
            9 => (0x41d + self.below(0x22)) << 52 | fraction,
            10 => (0x380 + self.below(3)) << 52 | fraction,
            _ => self.next() >> 1,
        }
    }

    pub(crate) fn extended(&mut self) -> [u8; 16] {
        let top = 1 << 63;
        let random = self.next();
        let (exponent, significand) = match self.below(14) {
            0 => (0, 0),
            1 => (0x7fff, top),
            2 => (0x7fff, top | 1 << 62 | random >> 2),
            3 => (0x7fff, top | random >> 2 | 1),
            4 => (0, random >> 1),
            5 => (0x3fff, top),
            6 => (0x3fff + self.below(64), top | random),
            7 => (0x7ffe, top | random),
            8 => (1, top | random),
            // Unnormal and pseudo-denormal.
            9 => (self.below(0x7fff), random >> 1),
            10 => (0, top | random),
            11 => (0x3fff + self.below(20), top | random & !(u64::MAX >> 20)),
            12 => (0x3fc0 + self.below(0x80), top | random),
            _ => (self.below(0x7fff), top | random),
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&significand.to_le_bytes());
        let sign = self.below(2) << 15;
        bytes[8..10].copy_from_slice(&((exponent | sign) as u16).to_le_bytes());
        bytes
    }

    /// Fills vector lanes: floats of one width, or integers.
    pub(crate) fn lanes(&mut self, into: &mut [u8]) {
        let kind = self.below(3);
        for lane in into.chunks_exact_mut(8) {
            let value = match kind {
                0 => u64::from(self.single()) | u64::from(self.single()) << 32,
                1 => self.double(),
                _ => self.integer(),
            };
            lane.copy_from_slice(&value.to_le_bytes());
        }
    }
}
