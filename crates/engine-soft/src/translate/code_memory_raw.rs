//! One vCPU's memory for translated code: one memfd mapped twice, so that nothing is ever writable
//! and executable at one address.
//!
//! Code is laid down front to back; when it is full, all of it is thrown away at once. Every
//! translation is a consequence of guest memory, so nothing is lost but time.

use std::ptr::null_mut;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Both views of the memory. Pages that were never written cost nothing.
#[derive(Debug)]
pub(super) struct CodeMemory {
    write: usize,
    execute: u64,
    len: usize,
    used: usize,
    /// What [`CodeMemory::clear`] keeps.
    kept: usize,
}

impl CodeMemory {
    /// `None` when the host gives no executable memory.
    pub(super) fn new(len: usize) -> Option<CodeMemory> {
        let fd = memfd_create("translations", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
            .or_else(|_| memfd_create("translations", MemfdFlags::CLOEXEC))
            .ok()?;
        ftruncate(&fd, len as u64).ok()?;
        let view = |protection| {
            // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
            unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, &fd, 0) }.ok()
        };
        let execute = view(ProtFlags::READ | ProtFlags::EXEC)?;
        let write = view(ProtFlags::READ | ProtFlags::WRITE)?;
        // SAFETY: the range is the mapping just made; the advice only keeps it from children.
        unsafe { madvise(write, len, Advice::LinuxDontFork) }.ok()?;
        Some(CodeMemory {
            write: write as usize,
            execute: execute as u64,
            len,
            used: 0,
            kept: 0,
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
        true
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

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for view in [self.write, self.execute as usize] {
            // SAFETY: both are mappings of this length made by `new`; no code of them runs, since it
            // runs only inside a borrow of the owner. A failure leaks address space.
            let _ = unsafe { munmap(view as *mut _, self.len) };
        }
    }
}
