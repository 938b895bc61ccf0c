//! One vCPU's memory for translated code: the same pages mapped twice, so that nothing is ever writable
//! and executable at one address.
//!
//! They are shared memory without a name. Rejected: a memfd, whose name makes `perf` look for a file
//! instead of asking its map for what the code is.
//!
//! Each section of code has a part of it, where it is laid down front to back; when one is full, all is thrown
//! away at once. Every translation is a consequence of guest memory, so nothing is lost but time.
//!
//! Code is large and runs all over the place. It is put into huge pages, or a third of the time goes into
//! looking up small ones; each as soon as a little of it is filled, since what is there has to be copied,
//! and small pages would have to be found and mapped one by one, twice each.
//!
//! A vCPU that goes on where another process's was begins with the code of that one, in pages of a file that both
//! have (`image`). Of those there is one view; where a jump is patched, the page becomes this process's own.

use std::ffi::c_void;
use std::fs::File;
use std::ptr::null_mut;

use super::assembler::Section;
use super::huge_pages_raw::{HUGE_PAGE, collapse};
use super::image::Span;
use super::shelf_raw::map_copy;
use crate::apart_raw::{reserve_apart, reserve_at};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect,
    mremap_fixed, munmap,
};

/// Both views of the memory. Pages that were never written cost nothing.
#[derive(Debug)]
pub(super) struct CodeMemory {
    write: usize,
    execute: u64,
    len: usize,
    hot: Area,
    cold: Area,
    /// What [`CodeMemory::clear`] keeps, of the hot section.
    kept: usize,
}

/// Where another process's code lies in a file, by section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    /// Where it ran.
    pub(super) base: u64,
    pub(super) hot: Span,
    pub(super) cold: Span,
}

/// The part of a section.
#[derive(Debug)]
struct Area {
    start: usize,
    end: usize,
    /// Where the next code goes.
    next: usize,
    /// What lies before this is in huge pages, or could not be put there.
    huge: usize,
    /// What lies before this, from the start on, is another process's.
    own: usize,
}

impl Area {
    const fn new(start: usize, end: usize) -> Area {
        Area {
            start,
            end,
            next: start,
            huge: start,
            own: start,
        }
    }

    /// Begins with so many bytes of another's.
    fn inherit(&mut self, len: usize) {
        self.own = self.start + len.next_multiple_of(PAGE);
        self.next = self.own;
        self.huge = self.own.next_multiple_of(HUGE_PAGE);
    }

    fn has_room(&self, code: &[u8]) -> bool {
        code.len() <= self.end - self.next
    }
}

const PAGE: usize = 4096;
/// A huge page with so many bytes in it will be filled.
const BEGUN: usize = 128 << 10;

impl CodeMemory {
    /// `None` when the host gives no executable memory.
    pub(super) fn new(len: usize) -> Option<CodeMemory> {
        CodeMemory::executed_at(reserve_apart(len)? as u64, len)
    }

    /// One that begins with code from a file, where that ran. `None` also when something is there.
    pub(super) fn inherit(len: usize, file: &File, from: Inherited) -> Option<CodeMemory> {
        let mut memory = CodeMemory::executed_at(reserve_at(from.base, len)? as u64, len)?;
        for (section, part) in [(Section::Hot, from.hot), (Section::Cold, from.cold)] {
            let area = memory.area(section);
            // The next page on is this process's.
            (part.len + PAGE <= area.end - area.start).then_some(())?;
            let start = memory.execute as usize + area.start;
            let protection = ProtFlags::READ | ProtFlags::EXEC;
            if part.len > 0 {
                map_copy(start, part.len, protection, file, part.at).ok()?;
            }
            memory.area_mut(section).inherit(part.len);
        }
        memory.kept = memory.hot.own;
        Some(memory)
    }

    /// The executable view is to lie in a range that was reserved.
    fn executed_at(execute: u64, len: usize) -> Option<CodeMemory> {
        // Of what a guest runs, three fifths are hot.
        let middle = (len / 5 * 3 / HUGE_PAGE).max(1) * HUGE_PAGE;
        let (write, both) = (reserve(len)?, ProtFlags::READ | ProtFlags::WRITE);
        let memory = CodeMemory {
            write: write as usize,
            execute,
            len,
            hot: Area::new(0, middle),
            cold: Area::new(middle, len),
            kept: 0,
        };
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the range was reserved for this.
        unsafe { mmap_anonymous(write, len, both, flags) }.ok()?;
        // SAFETY: the range is the mapping just made; the advice only keeps it from children.
        unsafe { madvise(write, len, Advice::LinuxDontFork) }.ok()?;
        let execute = execute as *mut c_void;
        // SAFETY: of no bytes nothing is moved: the pages, being shared, are mapped a second time, where
        // a range was reserved for it.
        unsafe { mremap_fixed(write, 0, len, MremapFlags::MAYMOVE, execute) }.ok()?;
        // SAFETY: nothing refers to the second mapping yet.
        unsafe { mprotect(execute, len, MprotectFlags::READ | MprotectFlags::EXEC) }.ok()?;
        Some(memory)
    }

    fn area(&self, section: Section) -> &Area {
        match section {
            Section::Hot => &self.hot,
            Section::Cold => &self.cold,
        }
    }

    fn area_mut(&mut self, section: Section) -> &mut Area {
        match section {
            Section::Hot => &mut self.hot,
            Section::Cold => &mut self.cold,
        }
    }

    /// Where the next code of a section will run.
    pub(super) fn next(&self, section: Section) -> u64 {
        self.execute + self.area(section).next as u64
    }

    /// Bytes that there can be.
    pub(super) fn room(&self) -> usize {
        self.len
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        [&self.hot, &self.cold]
            .iter()
            .map(|area| area.next - area.start)
            .sum()
    }

    /// Lays code down at [`CodeMemory::next`] of each section. False when it does not fit.
    pub(super) fn add(&mut self, hot: &[u8], cold: &[u8]) -> bool {
        if !self.hot.has_room(hot) || !self.cold.has_room(cold) {
            return false;
        }
        self.lay(Section::Hot, hot);
        self.lay(Section::Cold, cold);
        true
    }

    fn lay(&mut self, section: Section, code: &[u8]) {
        let (write, execute) = (self.write, self.execute);
        let area = self.area_mut(section);
        debug_assert!(area.has_room(code));
        // SAFETY: the range lies in the writable view, beyond all code that was published.
        unsafe {
            std::ptr::copy_nonoverlapping(
                code.as_ptr(),
                (write + area.next) as *mut u8,
                code.len(),
            );
        }
        area.next = (area.next + code.len()).next_multiple_of(16).min(area.end);
        while area.next >= area.huge + BEGUN && area.huge + HUGE_PAGE <= area.end {
            collapse(execute as usize + area.huge);
            area.huge += HUGE_PAGE;
        }
    }

    /// Everything so far stays when the rest is cleared. It is all in the hot section.
    pub(super) fn keep(&mut self) {
        debug_assert!(self.cold.next == self.cold.own);
        self.kept = self.hot.next;
    }

    /// Where the first byte of a section runs.
    pub(super) fn base(&self, section: Section) -> u64 {
        self.execute + self.area(section).start as u64
    }

    /// All code of a section.
    pub(super) fn code(&self, section: Section) -> &[u8] {
        let area = self.area(section);
        let start = self.execute as usize + area.start;
        // SAFETY: the executable view can be read, and is written through the other by who borrows all of this.
        unsafe { std::slice::from_raw_parts(start as *const u8, area.next - area.start) }
    }

    /// Where what stays runs, and its length.
    pub(super) fn kept(&self) -> (u64, usize) {
        (self.execute, self.kept)
    }

    /// Throws away all code that is not kept. Nothing of it may run any more. Room that has another's code is
    /// not used again.
    pub(super) fn clear(&mut self) {
        self.hot.next = self.kept;
        self.cold.next = self.cold.own;
    }

    /// Makes the jump whose 32-bit displacement is at executable address `at` go to `target`.
    pub(super) fn patch_jump(&mut self, at: u64, target: u64) {
        let offset = at.wrapping_sub(self.execute) as usize;
        let inside = |area: &Area| (area.start..area.next.saturating_sub(3)).contains(&offset);
        if !inside(&self.hot) && !inside(&self.cold) {
            return;
        }
        let displacement = target.wrapping_sub(at + 4) as i32;
        let others = |area: &Area| (area.start..area.own).contains(&offset);
        if others(&self.hot) || others(&self.cold) {
            patch_copy(at as usize, displacement);
            return;
        }
        // SAFETY: four bytes inside published code, which only this vCPU's thread runs, and not now.
        unsafe { ((self.write + offset) as *mut i32).write_unaligned(displacement) };
    }
}

/// Changes four bytes of another's code, whose pages become this process's own. They are executable again, or
/// have not changed.
fn patch_copy(at: usize, displacement: i32) {
    let first = at & !(PAGE - 1);
    let len = (at + 4).next_multiple_of(PAGE) - first;
    let protect = |flags| {
        // SAFETY: pages of a private mapping of this memory's, whose code does not run now.
        unsafe { mprotect(first as *mut _, len, flags) }
    };
    if protect(MprotectFlags::READ | MprotectFlags::WRITE).is_ok() {
        // SAFETY: these bytes were just made writable.
        unsafe { (at as *mut i32).write_unaligned(displacement) };
        let back = protect(MprotectFlags::READ | MprotectFlags::EXEC);
        assert!(back.is_ok(), "the host makes code executable once only");
    }
}

/// A range of so many addresses from a multiple of [`HUGE_PAGE`] on, where nothing can be accessed.
pub(super) fn reserve(len: usize) -> Option<*mut c_void> {
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let base = unsafe {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        mmap_anonymous(null_mut(), len + HUGE_PAGE, ProtFlags::empty(), flags).ok()?
    };
    let before = (base as usize).next_multiple_of(HUGE_PAGE) - base as usize;
    // SAFETY: these are parts of the mapping just made, which nobody knows.
    unsafe {
        if before > 0 {
            munmap(base, before).ok()?;
        }
        munmap(base.byte_add(before + len), HUGE_PAGE - before).ok()?;
        Some(base.byte_add(before))
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for view in [self.write, self.execute as usize] {
            // SAFETY: both are ranges of this length that were reserved for it; no code of them runs, since it
            // runs only inside a borrow of the owner. A failure leaks address space.
            let _ = unsafe { munmap(view as *mut _, self.len) };
        }
    }
}

#[cfg(test)]
mod tests;
