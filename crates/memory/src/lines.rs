//! Parts of a page: the grain at which code and data beside it are told apart.

use crate::PAGE_SIZE;

/// A set of the 32 lines, of 128 bytes each, that a page consists of. Bit n is line n.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Lines(pub u32);

impl Lines {
    pub const NONE: Lines = Lines(0);
    pub const ALL: Lines = Lines(u32::MAX);
    /// log2 of a line's length in bytes.
    pub const SHIFT: u32 = 7;

    /// The lines of `len` bytes from `offset` into a page on, as far as they lie in that page. `offset`
    /// may be any address of which the page does not matter.
    #[must_use]
    pub fn of(offset: u64, len: u64) -> Lines {
        if len == 0 {
            return Lines::NONE;
        }
        let first = offset % PAGE_SIZE;
        let last = first.saturating_add(len - 1).min(PAGE_SIZE - 1);
        let upto = u32::MAX >> (31 - (last >> Lines::SHIFT));
        Lines(upto & u32::MAX << (first >> Lines::SHIFT))
    }

    /// Offset of the first byte after the last of these lines.
    #[must_use]
    pub fn end(self) -> u64 {
        u64::from(u32::BITS - self.0.leading_zeros()) << Lines::SHIFT
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Lines::NONE
    }

    #[must_use]
    pub fn or(self, other: Lines) -> Lines {
        Lines(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Lines) -> Lines {
        Lines(self.0 & !other.0)
    }

    #[must_use]
    pub fn meets(self, other: Lines) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests;
