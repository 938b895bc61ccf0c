//! The fast path: a TLB hit is a host load or store. The only file of the MMU that touches guest
//! memory, all of it by single host instructions, since other vCPUs and devices race with us.

use std::arch::asm;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memory::Lines;

use super::{PAGE_MASK, Way, place, set};
use crate::cpu::Cpu;
use crate::interp::op::Stop;
use crate::word::Word;

/// Loads `T` at a host address of guest RAM, any alignment.
///
/// # Safety
/// `host` must be valid for reads of `T`; it need not be aligned or unshared.
#[inline(always)]
pub(crate) unsafe fn load<T: Word>(host: u64) -> T {
    let value: u64;
    // SAFETY: the caller's promise; a single MOV races with other threads as hardware does.
    unsafe {
        match T::BYTES {
            1 => {
                asm!("movzx {v:e}, byte ptr [{p}]", p = in(reg) host, v = out(reg) value, options(nostack, readonly, preserves_flags))
            }
            2 => {
                asm!("movzx {v:e}, word ptr [{p}]", p = in(reg) host, v = out(reg) value, options(nostack, readonly, preserves_flags))
            }
            4 => {
                asm!("mov {v:e}, [{p}]", p = in(reg) host, v = out(reg) value, options(nostack, readonly, preserves_flags))
            }
            _ => {
                asm!("mov {v}, [{p}]", p = in(reg) host, v = out(reg) value, options(nostack, readonly, preserves_flags))
            }
        }
    }
    T::from_u64(value)
}

/// Stores `T` at a host address of guest RAM, any alignment.
///
/// # Safety
/// `host` must be valid for writes of `T`; it need not be aligned or unshared.
#[inline(always)]
pub(crate) unsafe fn store<T: Word>(host: u64, value: T) {
    let value = value.to_u64();
    // SAFETY: the caller's promise; a single MOV races with other threads as hardware does.
    unsafe {
        match T::BYTES {
            1 => {
                asm!("mov [{p}], {v}", p = in(reg) host, v = in(reg_byte) value as u8, options(nostack, preserves_flags))
            }
            2 => {
                asm!("mov [{p}], {v:x}", p = in(reg) host, v = in(reg) value, options(nostack, preserves_flags))
            }
            4 => {
                asm!("mov [{p}], {v:e}", p = in(reg) host, v = in(reg) value, options(nostack, preserves_flags))
            }
            _ => {
                asm!("mov [{p}], {v}", p = in(reg) host, v = in(reg) value, options(nostack, preserves_flags))
            }
        }
    }
}

impl Cpu {
    #[inline(always)]
    fn entry(&self, way: Way, set: usize, gla: u64) -> &super::Entry {
        let place = place(way, set, gla);
        debug_assert!(place < self.mmu.entries.len());
        // SAFETY: `set` is one of the four sets (see `select`).
        unsafe { self.mmu.entries.get_unchecked(place) }
    }

    /// Reads at a linear address with the current privilege.
    #[inline(always)]
    pub(crate) fn read<T: Word>(&mut self, gla: u64) -> Result<T, Stop> {
        let entry = self.entry(Way::Read, self.mmu.current, gla);
        if entry.tag == gla.wrapping_add(u64::from(T::BYTES - 1)) & PAGE_MASK {
            // SAFETY: a tag of reads means the whole page is RAM mapped at `host`.
            return Ok(unsafe { load(entry.host_of(gla)) });
        }
        self.read_slow(gla, T::BYTES, false).map(T::from_u64)
    }

    /// Writes at a linear address with the current privilege.
    #[inline(always)]
    pub(crate) fn write<T: Word>(&mut self, gla: u64, value: T) -> Result<(), Stop> {
        let entry = self.entry(Way::Write, self.mmu.current, gla);
        if entry.tag == gla.wrapping_add(u64::from(T::BYTES - 1)) & PAGE_MASK {
            // SAFETY: a tag of writes means the whole page is plain RAM mapped at `host`.
            unsafe { store(entry.host_of(gla), value) };
            return Ok(());
        }
        self.write_slow(gla, T::BYTES, value.to_u64(), false)
    }

    /// Host address for a read-modify-write of `size` bytes at `gla`, after all checks of a write;
    /// `None` where there is no single one (MMIO, or the access crosses a page).
    #[inline(always)]
    pub(crate) fn host_for_update(&mut self, gla: u64, size: u8) -> Result<Option<u64>, Stop> {
        let entry = self.entry(Way::Write, self.mmu.current, gla);
        if entry.tag == gla.wrapping_add(u64::from(size - 1)) & PAGE_MASK {
            return Ok(Some(entry.host_of(gla)));
        }
        self.host_for_update_slow(gla, size)
    }

    /// Host address for reads of `size` bytes at `gla` from RAM inside one page, if in the TLB.
    #[inline(always)]
    pub(crate) fn host_for_read(&self, gla: u64, size: u64) -> Option<u64> {
        let entry = self.entry(Way::Read, self.mmu.current, gla);
        (entry.tag == gla.wrapping_add(size - 1) & PAGE_MASK).then(|| entry.host_of(gla))
    }

    /// Host address for writes of `size` bytes at `gla` to plain RAM inside one page, if in the TLB.
    #[inline(always)]
    pub(crate) fn host_for_write(&self, gla: u64, size: u64) -> Option<u64> {
        let entry = self.entry(Way::Write, self.mmu.current, gla);
        if entry.tag == gla.wrapping_add(size - 1) & PAGE_MASK {
            return Some(entry.host_of(gla));
        }
        self.mmu.beside(gla, size)
    }

    /// Writes words at `gla` if that is one page of plain RAM and in the TLB. Answers whether it was.
    pub(crate) fn write_words(&mut self, gla: u64, words: &[u64]) -> bool {
        let Some(host) = self.host_for_write(gla, 8 * words.len() as u64) else {
            return false;
        };
        for (at, word) in (host..).step_by(8).zip(words) {
            // SAFETY: the TLB gave the address for as many bytes as there are words.
            unsafe { store(at, *word) };
        }
        true
    }

    /// Reads words at `gla` likewise.
    pub(crate) fn read_words<const N: usize>(&mut self, gla: u64) -> Option<[u64; N]> {
        let host = self.host_for_read(gla, 8 * N as u64)?;
        let mut words = [0; N];
        for (at, word) in (host..).step_by(8).zip(&mut words) {
            // SAFETY: as above.
            *word = unsafe { load(at) };
        }
        Some(words)
    }

    /// Reads a descriptor, TSS field or the like: as supervisor, whatever the privilege.
    pub(crate) fn read_system<T: Word>(&mut self, gla: u64) -> Result<T, Stop> {
        let entry = self.entry(Way::Read, set::SUPERVISOR, gla);
        if entry.tag == gla.wrapping_add(u64::from(T::BYTES - 1)) & PAGE_MASK {
            // SAFETY: as in `read`.
            return Ok(unsafe { load(entry.host_of(gla)) });
        }
        self.read_slow(gla, T::BYTES, true).map(T::from_u64)
    }

    /// Writes one likewise.
    pub(crate) fn write_system<T: Word>(&mut self, gla: u64, value: T) -> Result<(), Stop> {
        self.write_slow(gla, T::BYTES, value.to_u64(), true)
    }
}

/// Copies `len` bytes between two host ranges inside guest RAM, as `rep movsb` does, forwards.
///
/// # Safety
/// Both ranges must be valid guest RAM; they may overlap and race.
pub(crate) unsafe fn copy_forward(to: u64, from: u64, len: usize) {
    // SAFETY: the caller's promise; DF is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _,
            options(nostack, preserves_flags));
    }
}

/// Fills `count` elements of `T` from host address `to`.
///
/// # Safety
/// The range must be valid guest RAM; it may race.
pub(crate) unsafe fn fill<T: Word>(to: u64, value: T, count: usize) {
    let value = value.to_u64();
    // SAFETY: the caller's promise; DF is clear by the ABI.
    unsafe {
        match T::BYTES {
            1 => {
                asm!("rep stosb", inout("rdi") to => _, inout("rcx") count => _, in("rax") value, options(nostack, preserves_flags))
            }
            2 => {
                asm!("rep stosw", inout("rdi") to => _, inout("rcx") count => _, in("rax") value, options(nostack, preserves_flags))
            }
            4 => {
                asm!("rep stosd", inout("rdi") to => _, inout("rcx") count => _, in("rax") value, options(nostack, preserves_flags))
            }
            _ => {
                asm!("rep stosq", inout("rdi") to => _, inout("rcx") count => _, in("rax") value, options(nostack, preserves_flags))
            }
        }
    }
}

/// Reads `size` (1, 2, 4, 8) bytes of RAM at a guest-physical address inside one page; all-ones
/// where there is no RAM.
pub(crate) fn physical_read(cpu: &Cpu, gpa: u64, size: u8) -> u64 {
    let Some(region) = cpu.mmu.region(gpa) else {
        return u64::MAX >> (64 - u32::from(size) * 8);
    };
    load_sized(region.host + (gpa - region.base), size)
}

/// Loads `size` (1, 2, 4, 8) bytes at a host address that the MMU gave for so many.
pub(super) fn load_sized(host: u64, size: u8) -> u64 {
    // SAFETY: `host` is of RAM for the whole size, by the caller's word; the vCPU's memory handle keeps
    // it mapped.
    unsafe {
        match size {
            1 => load::<u8>(host).to_u64(),
            2 => load::<u16>(host).to_u64(),
            4 => load::<u32>(host).to_u64(),
            _ => load::<u64>(host),
        }
    }
}

/// Writes likewise; nothing where there is no RAM. Does not tell the page tracker.
pub(crate) fn physical_write(cpu: &Cpu, gpa: u64, size: u8, value: u64) {
    let Some(region) = cpu.mmu.writable(gpa) else {
        return;
    };
    store_sized(region.host + (gpa - region.base), size, value);
}

/// Stores the low `size` (1, 2, 4, 8) bytes of `value` at a host address that the MMU gave for so many.
pub(super) fn store_sized(host: u64, size: u8, value: u64) {
    // SAFETY: `host` is of RAM for the whole size, by the caller's word; the vCPU's memory handle keeps
    // it mapped.
    unsafe {
        match size {
            1 => store(host, value as u8),
            2 => store(host, value as u16),
            4 => store(host, value as u32),
            _ => store(host, value),
        }
    }
}

/// Replaces a page-table entry at `gpa` by `new` if it still is `old`.
pub(crate) fn physical_or(cpu: &Cpu, gpa: u64, old: u64, new: u64, wide: bool) -> bool {
    let Some(region) = cpu.mmu.writable(gpa) else {
        return true;
    };
    let host = region.host + (gpa - region.base);
    let relaxed = Ordering::Relaxed;
    let done = if wide {
        // SAFETY: entries are aligned to their size, inside a mapped region; shared as an atomic.
        let entry = unsafe { AtomicU64::from_ptr(host as *mut u64) };
        entry
            .compare_exchange(old, new, Ordering::AcqRel, relaxed)
            .is_ok()
    } else {
        // SAFETY: as above.
        let entry = unsafe { AtomicU32::from_ptr(host as *mut u32) };
        entry
            .compare_exchange(old as u32, new as u32, Ordering::AcqRel, relaxed)
            .is_ok()
    };
    let lines = Lines::of(gpa, if wide { 8 } else { 4 });
    region.tracker.note_write(region.page(gpa), lines);
    done
}

/// Copies up to a page of instruction bytes from the page of RAM at `gpa` on; returns how many.
/// Where there is no RAM the bytes are FFh, as an undriven bus reads.
pub(crate) fn fetch_bytes(cpu: &Cpu, gpa: u64, into: &mut [u8]) -> usize {
    let count = into.len().min(0x1000 - (gpa & 0xfff) as usize);
    match cpu.mmu.region(gpa) {
        // SAFETY: the bytes lie in one page of a mapped region; they may race with guest writes,
        // which `rep movsb` sees as hardware would.
        Some(region) => unsafe {
            copy_forward(
                into.as_mut_ptr() as u64,
                region.host + (gpa - region.base),
                count,
            );
        },
        None => into[..count].fill(0xff),
    }
    count
}
