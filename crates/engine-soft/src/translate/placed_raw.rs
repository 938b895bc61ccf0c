//! A vCPU with its jump tables and its second-level TLB behind it, at one address that stays: translated code reaches all
//! from there.
//!
//! The tables are hashed, so that hardly two looks go to one page of the host's: without huge pages most of
//! them would wait for the host's own TLB. A guest that has hardly begun has no use for pages of two megabytes
//! each, so they come when it has some code.

use std::ffi::c_void;
use std::io;
use std::mem::offset_of;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::code_memory_raw::reserve;
use super::huge_pages_raw::{HUGE_PAGE, collapse};
use super::jumps_raw::{OF_ZERO, TABLES, Table, empty};
use crate::cpu::Cpu;
use crate::mmu::second_raw;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Placed {
    cpu: Cpu,
    tables: [Table; TABLES],
    second: second_raw::Tables,
}

impl Placed {
    /// Where the tables are, from the vCPU's address.
    pub(super) const TABLES_AT: usize = offset_of!(Placed, tables);
    pub(super) const SECOND_AT: usize = offset_of!(Placed, second);
}

/// Bytes of its memory.
const LEN: usize = size_of::<Placed>().next_multiple_of(HUGE_PAGE);

/// Owns a vCPU in its place.
#[derive(Debug)]
pub(crate) struct Home {
    place: NonNull<Placed>,
    huge: bool,
}

// SAFETY: it owns what it points at, as a Box would, and that may go to another thread.
unsafe impl Send for Home {}

impl Home {
    /// Puts `cpu` in its place. The tables begin empty, and cost nothing until they are used.
    ///
    /// # Errors
    /// When the host gives no memory.
    pub(crate) fn new(cpu: Cpu) -> io::Result<Home> {
        let place = map().ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: memory of the right size, aligned to more than is needed, its tables zero, which is a value
        // of theirs, and its vCPU written here before anyone sees it.
        let placed = unsafe {
            (&raw mut (*place.as_ptr()).cpu).write(cpu);
            &mut *place.as_ptr()
        };
        // The other entries are empty when they are zero.
        for table in &mut placed.tables {
            for (slot, entry) in table[..OF_ZERO].iter_mut().enumerate() {
                *entry = empty(slot);
            }
        }
        placed.cpu.mmu.second.tables = &raw mut placed.second;
        let tables = &raw mut placed.tables;
        placed.cpu.native.jumps.tables = tables;
        Ok(Home { place, huge: false })
    }

    /// The tables are used a lot from now on: they get huge pages, little by little.
    pub(crate) fn use_huge_pages(&mut self) {
        if self.huge {
            return;
        }
        self.huge = true;
        let start: *mut c_void = self.place.as_ptr().cast();
        // SAFETY: the range is this one's mapping; its contents stay. A host without huge pages is slower,
        // no more. Kernels that cannot be asked for one do it in their own time.
        let _ = unsafe { madvise(start, LEN, Advice::LinuxHugepage) };
        for at in (0..LEN).step_by(HUGE_PAGE) {
            collapse(start as usize + at);
        }
    }
}

/// Memory for a [`Placed`], all zero.
fn map() -> Option<NonNull<Placed>> {
    let start = reserve(LEN)?;
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the range was reserved for this.
    unsafe { mmap_anonymous(start, LEN, both, flags) }.ok()?;
    NonNull::new(start.cast())
}

impl Drop for Home {
    fn drop(&mut self) {
        // SAFETY: `new` made both the value and the mapping, and nobody else has them.
        unsafe {
            self.place.drop_in_place();
            // A failure leaks address space.
            let _ = munmap(self.place.as_ptr().cast(), LEN);
        }
    }
}

impl Deref for Home {
    type Target = Cpu;

    fn deref(&self) -> &Cpu {
        // SAFETY: the value lives as long as its owner, who is borrowed.
        unsafe { &(*self.place.as_ptr()).cpu }
    }
}

impl DerefMut for Home {
    fn deref_mut(&mut self) -> &mut Cpu {
        // SAFETY: likewise.
        unsafe { &mut (*self.place.as_ptr()).cpu }
    }
}
