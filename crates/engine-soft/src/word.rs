//! Operand widths: 8, 16, 32 and 64 bits, and how each reads and writes a general register.

use std::fmt::Debug;

/// An integer operand. Register offsets are in bytes from the start of the register file, so that
/// AH, CH, DH and BH are offsets 1, 9, 17 and 25.
pub(crate) trait Word: Copy + Eq + Debug + Send + 'static {
    const BYTES: u8;
    const BITS: u32 = Self::BYTES as u32 * 8;
    fn from_u64(value: u64) -> Self;
    fn to_u64(self) -> u64;
    fn to_i64(self) -> i64;
    /// Reads the register at byte `offset`.
    fn get(gpr: &[u64; 18], offset: u8) -> Self;
    /// Writes it. 32-bit writes clear the upper half, 8- and 16-bit ones leave the rest.
    fn set(gpr: &mut [u64; 18], offset: u8, value: Self);
}

macro_rules! word {
    ($unsigned:ty, $signed:ty, $bytes:literal) => {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            clippy::cast_sign_loss,
            clippy::cast_lossless,
            reason = "narrowing and reinterpreting is what a sub-register access is"
        )]
        impl Word for $unsigned {
            const BYTES: u8 = $bytes;

            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $unsigned
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as $signed as i64
            }

            #[inline(always)]
            fn get(gpr: &[u64; 18], offset: u8) -> Self {
                (gpr[usize::from(offset >> 3) & 15] >> ((offset & 7) * 8)) as $unsigned
            }

            #[inline(always)]
            fn set(gpr: &mut [u64; 18], offset: u8, value: Self) {
                let register = &mut gpr[usize::from(offset >> 3) & 15];
                if $bytes >= 4 {
                    *register = value as u64;
                } else {
                    let shift = (offset & 7) * 8;
                    let mask = (<$unsigned>::MAX as u64) << shift;
                    *register = *register & !mask | (value as u64) << shift;
                }
            }
        }
    };
}

word!(u8, i8, 1);
word!(u16, i16, 2);
word!(u32, i32, 4);
word!(u64, i64, 8);
