//! A ring of bytes that takes memory only while it holds some.

use std::io::IoSliceMut;

/// Begun with.
const FIRST: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct ByteRing {
    /// Its length is a power of two, or nothing.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl ByteRing {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, offset: usize) -> usize {
        (self.start + offset) & (self.bytes.len() - 1)
    }

    /// `len` bytes from `offset` on, in two pieces. They must be there.
    pub(super) fn slices(&self, offset: usize, len: usize) -> [&[u8]; 2] {
        if len == 0 {
            return [&[], &[]];
        }
        let from = self.place(offset);
        let first = len.min(self.bytes.len() - from);
        [&self.bytes[from..from + first], &self.bytes[..len - first]]
    }

    /// Drops the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.len -= len;
        if self.len == 0 {
            self.start = 0;
        } else {
            self.start = self.place(len);
        }
    }

    /// Gives the memory back of a ring that is empty.
    pub(super) fn rest(&mut self) {
        if self.len == 0 {
            *self = ByteRing::default();
        }
    }

    /// Makes room for more, as far as `limit` (a power of two) allows.
    fn grow(&mut self, wanted: usize, limit: usize) {
        let target = (self.len + wanted)
            .next_power_of_two()
            .clamp(FIRST, limit.max(FIRST));
        if target <= self.bytes.len() {
            return;
        }
        let mut bytes = Vec::with_capacity(target);
        for piece in self.slices(0, self.len) {
            bytes.extend_from_slice(piece);
        }
        bytes.resize(target, 0);
        self.bytes = bytes;
        self.start = 0;
    }

    /// Has `read` fill free bytes, up to `limit` in the whole ring. Answers what it answers, or
    /// `None` when there is no room.
    pub(super) fn fill<E>(
        &mut self,
        limit: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, E>,
    ) -> Option<Result<usize, E>> {
        // Twice as large each time that it is full.
        if self.len == self.bytes.len() {
            self.grow(self.len.max(1), limit);
        }
        let free = self.bytes.len().min(limit).checked_sub(self.len)?;
        if free == 0 {
            return None;
        }
        let from = self.place(self.len);
        let (before, after) = self.bytes.split_at_mut(from);
        let first = free.min(after.len());
        let rest = free - first;
        let got = read(&mut [
            IoSliceMut::new(&mut after[..first]),
            IoSliceMut::new(&mut before[..rest]),
        ]);
        if let Ok(got) = got {
            self.len += got.min(free);
        }
        Some(got)
    }

    /// Adds bytes, up to `limit` in the whole ring. Answers how many.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) -> usize {
        let count = bytes.len().min(limit.saturating_sub(self.len));
        if count == 0 {
            return 0;
        }
        if self.bytes.len() - self.len < count {
            self.grow(count, limit);
        }
        let count = count.min(self.bytes.len() - self.len);
        let from = self.place(self.len);
        let first = count.min(self.bytes.len() - from);
        self.bytes[from..from + first].copy_from_slice(&bytes[..first]);
        self.bytes[..count - first].copy_from_slice(&bytes[first..count]);
        self.len += count;
        count
    }
}

#[cfg(test)]
mod tests;
