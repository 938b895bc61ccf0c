//! Where in linear space large pages were cached, so that INVLPG elsewhere flushes one small page.
//!
//! A flush of an address in a large page must forget all of that page, which the TLB holds in pieces of
//! 4 KiB: it is looked through. Guests flush small pages all the time, so it is known by hashed bits
//! where no large page can be.

/// Pieces of 4 MiB of linear space, by a hash.
const LARGE_BITS: usize = 1 << 15;
/// Pieces of 1 GiB likewise.
const HUGE_BITS: usize = 1 << 10;

pub(super) const LARGE_SHIFT: u32 = 22;
pub(super) const HUGE_SHIFT: u32 = 30;

#[derive(Debug)]
pub(super) struct LargeSeen {
    large: Box<[u64]>,
    huge: Box<[u64]>,
    any: bool,
}

fn bit(gla: u64, shift: u32, bits: usize) -> (usize, u64) {
    let piece = (gla & 0xffff_ffff_ffff) >> shift;
    let hash = (piece ^ piece >> 15) as usize % bits;
    (hash / 64, 1 << (hash % 64))
}

impl LargeSeen {
    pub(super) fn none() -> LargeSeen {
        LargeSeen {
            large: vec![0; LARGE_BITS / 64].into_boxed_slice(),
            huge: vec![0; HUGE_BITS / 64].into_boxed_slice(),
            any: false,
        }
    }

    /// A page of 2 or 4 MiB, or of 1 GiB when it is `huge`, was found at `gla`.
    pub(super) fn note(&mut self, gla: u64, huge: bool) {
        self.any = true;
        let (word, mask) = bit(gla, LARGE_SHIFT, LARGE_BITS);
        self.large[word] |= mask;
        if huge {
            let (word, mask) = bit(gla, HUGE_SHIFT, HUGE_BITS);
            self.huge[word] |= mask;
        }
    }

    /// In which piece of space of `1 << shift` bytes a large page with `gla` in it may be cached.
    pub(super) fn shift_at(&self, gla: u64) -> Option<u32> {
        let (word, mask) = bit(gla, HUGE_SHIFT, HUGE_BITS);
        if self.huge[word] & mask != 0 {
            return Some(HUGE_SHIFT);
        }
        let (word, mask) = bit(gla, LARGE_SHIFT, LARGE_BITS);
        (self.large[word] & mask != 0).then_some(LARGE_SHIFT)
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.any) {
            self.large.fill(0);
            self.huge.fill(0);
        }
    }
}

#[cfg(test)]
mod tests;
