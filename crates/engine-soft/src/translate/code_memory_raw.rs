//! One vCPU's memory for translated code: the same pages mapped twice, so that nothing is ever writable
//! and executable at one address.
//!
//! They are shared memory without a name. Rejected: a memfd, whose name makes `perf` look for a file
//! instead of asking its map for what the code is.
//!
//! Code is laid down front to back; when it is full, all of it is thrown away at once. Every
//! translation is a consequence of guest memory, so nothing is lost but time.
//!
//! Code is large and runs all over the place. Whatever fills a huge page is put into one, or a third of
//! the time goes into looking up small ones.

use std::ffi::c_void;
use std::ptr::null_mut;

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
    used: usize,
    /// What [`CodeMemory::clear`] keeps.
    kept: usize,
    /// So many bytes lie in huge pages, or could not be put there.
    huge: usize,
}

const HUGE_PAGE: usize = 2 << 20;

impl CodeMemory {
    /// `None` when the host gives no executable memory.
    pub(super) fn new(len: usize) -> Option<CodeMemory> {
        let (write, both) = (reserve(len)?, ProtFlags::READ | ProtFlags::WRITE);
        let mut memory = CodeMemory {
            write: write as usize,
            execute: 0,
            len,
            used: 0,
            kept: 0,
            huge: 0,
        };
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the range was reserved for this.
        unsafe { mmap_anonymous(write, len, both, flags) }.ok()?;
        // SAFETY: the range is the mapping just made; the advice only keeps it from children.
        unsafe { madvise(write, len, Advice::LinuxDontFork) }.ok()?;
        let execute = reserve(len)?;
        memory.execute = execute as u64;
        // SAFETY: of no bytes nothing is moved: the pages, being shared, are mapped a second time, where
        // a range was reserved for it.
        unsafe { mremap_fixed(write, 0, len, MremapFlags::MAYMOVE, execute) }.ok()?;
        // SAFETY: nothing refers to the second mapping yet.
        unsafe { mprotect(execute, len, MprotectFlags::READ | MprotectFlags::EXEC) }.ok()?;
        Some(memory)
    }

    /// Where the next code will run.
    pub(super) fn next(&self) -> u64 {
        self.execute + self.used as u64
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Lays `code` down at [`CodeMemory::next`]. False when it does not fit.
    pub(super) fn add(&mut self, code: &[u8]) -> bool {
        if code.len() > self.len - self.used {
            return false;
        }
        // SAFETY: the range lies in the writable view, beyond all code that was published.
        unsafe {
            std::ptr::copy_nonoverlapping(
                code.as_ptr(),
                (self.write + self.used) as *mut u8,
                code.len(),
            );
        }
        self.used = (self.used + code.len()).next_multiple_of(16).min(self.len);
        while self.used - self.huge.min(self.used) >= HUGE_PAGE {
            self.collapse();
        }
        true
    }

    /// Puts the next full [`HUGE_PAGE`] bytes into one. Kernels before 6.1 do not know how.
    fn collapse(&mut self) {
        let start = self.execute + self.huge as u64;
        // SAFETY: the range lies in the mapping; its contents and protection stay.
        unsafe { libc::madvise(start as *mut _, HUGE_PAGE, libc::MADV_COLLAPSE) };
        self.huge += HUGE_PAGE;
    }

    /// Everything so far stays when the rest is cleared.
    pub(super) fn keep(&mut self) {
        self.kept = self.used;
    }

    /// Where what stays runs, and its length.
    pub(super) fn kept(&self) -> (u64, usize) {
        (self.execute, self.kept)
    }

    /// Throws away all code that is not kept. Nothing of it may run any more.
    pub(super) fn clear(&mut self) {
        self.used = self.kept;
    }

    /// Makes the jump whose 32-bit displacement is at executable address `at` go to `target`.
    pub(super) fn patch_jump(&mut self, at: u64, target: u64) {
        let offset = at.wrapping_sub(self.execute) as usize;
        if offset > self.used.saturating_sub(4) {
            return;
        }
        let displacement = target.wrapping_sub(at + 4) as i32;
        // SAFETY: four bytes inside published code, which only this vCPU's thread runs, and not now.
        unsafe { ((self.write + offset) as *mut i32).write_unaligned(displacement) };
    }
}

/// A range of so many addresses from a multiple of [`HUGE_PAGE`] on, where nothing can be accessed.
fn reserve(len: usize) -> Option<*mut c_void> {
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
        // The second is missing when the host refused it.
        for view in [self.write, self.execute as usize]
            .into_iter()
            .filter(|&view| view != 0)
        {
            // SAFETY: both are mappings of this length made by `new`; no code of them runs, since it
            // runs only inside a borrow of the owner. A failure leaks address space.
            let _ = unsafe { munmap(view as *mut _, self.len) };
        }
    }
}

#[cfg(test)]
mod tests;
