//! One vCPU's memory for translated code: one memfd mapped twice, so that nothing is ever writable
//! and executable at one address.
//!
//! Code is laid down front to back; when it is full, all of it is thrown away at once. Every
//! translation is a consequence of guest memory, so nothing is lost but time.
//!
//! Code is large and runs all over the place. Whatever fills a huge page is put into one, or a third of
//! the time goes into looking up small ones.

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::null_mut;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

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
        let fd = memfd_create("translations", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
            .or_else(|_| memfd_create("translations", MemfdFlags::CLOEXEC))
            .ok()?;
        ftruncate(&fd, len as u64).ok()?;
        let execute = view(&fd, len, ProtFlags::READ | ProtFlags::EXEC)?;
        let write = view(&fd, len, ProtFlags::READ | ProtFlags::WRITE)?;
        // SAFETY: the range is the mapping just made; the advice only keeps it from children.
        unsafe { madvise(write, len, Advice::LinuxDontFork) }.ok()?;
        Some(CodeMemory {
            write: write as usize,
            execute: execute as u64,
            len,
            used: 0,
            kept: 0,
            huge: 0,
        })
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

/// Maps all of `fd` at a multiple of [`HUGE_PAGE`].
fn view(fd: &OwnedFd, len: usize, protection: ProtFlags) -> Option<*mut c_void> {
    let reserved = len + HUGE_PAGE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let base = unsafe {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        mmap_anonymous(null_mut(), reserved, ProtFlags::empty(), flags).ok()?
    };
    let before = (base as usize).next_multiple_of(HUGE_PAGE) - base as usize;
    // SAFETY: these are parts of the mapping just made, which nobody knows.
    unsafe {
        if before > 0 {
            munmap(base, before).ok()?;
        }
        munmap(base.byte_add(before + len), HUGE_PAGE - before).ok()?;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        mmap(base.byte_add(before), len, protection, flags, fd, 0).ok()
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for view in [self.write, self.execute as usize] {
            // SAFETY: both are mappings of this length made by `new`; no code of them runs, since it
            // runs only inside a borrow of the owner. A failure leaks address space.
            let _ = unsafe { munmap(view as *mut _, self.len) };
        }
    }
}

#[cfg(test)]
mod tests;
