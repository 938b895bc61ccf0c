//! Things whose addresses code holds: they do not move, and go all at once.

use std::fs::File;
use std::io;
use std::marker::PhantomData;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::image::Span;
use crate::apart_raw::{reserve_apart, reserve_at};

const PAGE: usize = 4096;

/// Values of one type, one behind the other. Room that was never used costs nothing.
///
/// The first may be another process's, in pages of a file that both have. They are never written to.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    start: usize,
    /// Bytes.
    room: usize,
    /// Where the next value goes, from the start.
    next: usize,
    /// Where those begin that are this process's own.
    own: usize,
    of: PhantomData<T>,
}

impl<T: Copy> Shelf<T> {
    /// For so many. `None` when the host gives no memory.
    pub(super) fn new(most: usize) -> Option<Shelf<T>> {
        let room = Self::bytes_of(most);
        Shelf::writable(reserve_apart(room)? as usize, room)
    }

    /// One with the values of another, which lie in a part of a file, at the address where they were.
    pub(super) fn at(base: u64, most: usize, file: &File, part: Span) -> Option<Shelf<T>> {
        let (room, len) = (Self::bytes_of(most), part.len);
        (len <= room).then_some(())?;
        let mut shelf: Shelf<T> = Shelf::writable(reserve_at(base, room)? as usize, room)?;
        if len > 0 {
            map_copy(shelf.start, len, ProtFlags::READ, file, part.at).ok()?;
            shelf.own = len.next_multiple_of(PAGE);
            shelf.next = shelf.own;
        }
        Some(shelf)
    }

    fn bytes_of(most: usize) -> usize {
        (most * size_of::<T>()).next_multiple_of(PAGE) + PAGE
    }

    /// Of a range that was reserved.
    fn writable(start: usize, room: usize) -> Option<Shelf<T>> {
        let shelf = Shelf {
            start,
            room,
            next: 0,
            own: 0,
            of: PhantomData,
        };
        shelf.empty().then_some(shelf)
    }

    /// Zeros all over.
    fn empty(&self) -> bool {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        let both = ProtFlags::READ | ProtFlags::WRITE;
        let start = self.start as *mut _;
        // SAFETY: the range is this shelf's; whoever calls has no value of it any more.
        let mapped = unsafe { mmap_anonymous(start, self.room, both, flags) }.is_ok();
        // Few of them are looked at, here and there.
        // SAFETY: the range is the mapping just made; the advice changes nothing in it.
        let _ = mapped && unsafe { madvise(start, self.room, Advice::LinuxNoHugepage) }.is_ok();
        mapped
    }

    /// Keeps `value` and answers its address.
    ///
    /// # Panics
    /// When there is no room, which whoever makes a unit sees to before.
    pub(super) fn add(&mut self, value: T) -> u64 {
        let end = self.next + size_of::<T>();
        assert!(end <= self.room, "no room for what code refers to");
        let place = (self.start + self.next) as *mut T;
        // SAFETY: memory of this shelf behind all values, writable, and aligned: the start is a page's, and
        // values follow each other by their size from a multiple of their alignment on.
        unsafe { place.write(value) };
        self.next = end;
        place as u64
    }

    /// How many there are, or as many as would be as long.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.next / size_of::<T>()
    }

    /// The values of another begin at a page, and so do those that follow them: this may have room for as
    /// many fewer.
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.next + count * size_of::<T>() <= self.room
    }

    pub(super) fn clear(&mut self) {
        if self.next > 0 {
            assert!(self.empty(), "the host takes no memory back");
            (self.next, self.own) = (0, 0);
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.start as u64
    }

    /// Those that were added here.
    pub(super) fn own(&self) -> &[T] {
        let count = (self.next - self.own) / size_of::<T>();
        let first = (self.start + self.own) as *const T;
        // SAFETY: so many values were written, one behind the other, from the start of a page on.
        unsafe { std::slice::from_raw_parts(first, count) }
    }

    /// All values as they lie there.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: memory of this shelf, which can be read; pages of the kernel's, so no byte of it is
        // uninitialized, whatever lies between two fields.
        unsafe { std::slice::from_raw_parts(self.start as *const u8, self.next) }
    }
}

impl<T> Drop for Shelf<T> {
    fn drop(&mut self) {
        // SAFETY: the range is this shelf's. A failure leaks address space.
        let _ = unsafe { munmap(self.start as *mut _, self.room) };
    }
}

/// Puts `len` bytes of a file from `from` on, which is a page's start there, over what was at `start`. What is
/// written to them is this process's alone.
pub(super) fn map_copy(
    start: usize,
    len: usize,
    protection: ProtFlags,
    file: &File,
    from: u64,
) -> io::Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    let len = len.next_multiple_of(PAGE);
    // SAFETY: callers have reserved the range for this, and nobody uses it yet.
    unsafe { mmap(start as *mut _, len, protection, flags, file, from) }?;
    Ok(())
}
