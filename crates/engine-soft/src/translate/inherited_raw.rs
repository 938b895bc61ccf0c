//! Translations of another process's vCPU, page by page as they are first asked for.
//!
//! They lie in a file that this process has mapped, so whatever of them is never asked for costs nothing.

use std::fs::File;
use std::ops::Range;
use std::ptr::null_mut;

use memory::Lines;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::unit::Unit;
use crate::cpu::Cpu;
use crate::interp::fetch::CodePage;

/// Translations of one guest-physical page.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct PageEntry {
    pub(super) page: u64,
    /// The first of its units, and how many there are.
    pub(super) first: u32,
    pub(super) count: u32,
    /// [`Lines`] of the page that code was decoded from.
    pub(super) lines: u32,
    /// Of the page as it is noted here. Without meaning in a file.
    pub(super) generation: u32,
}

impl PageEntry {
    /// One whose units are not counted yet.
    pub(super) fn new(page: u64, lines: Lines) -> PageEntry {
        PageEntry {
            page,
            first: 0,
            count: 0,
            lines: lines.0,
            generation: 0,
        }
    }

    pub(super) fn units(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

/// A unit. Addresses count from the first byte of all code.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct UnitEntry {
    pub(super) key: u32,
    pub(super) inner: u32,
    pub(super) outer: u32,
}

/// In place of an address: there cannot be a unit.
pub(super) const NEVER: u32 = u32::MAX;

/// A part of a file in memory, as long as this lives.
#[derive(Debug)]
pub(super) struct Mapped {
    start: usize,
    len: usize,
}

impl Mapped {
    /// `from` is a multiple of a page's size. `None` when the host refuses it.
    pub(super) fn new(file: &File, from: u64, len: usize) -> Option<Mapped> {
        if len == 0 {
            return Some(Mapped { start: 0, len });
        }
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe {
            mmap(
                null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                from,
            )
        };
        Some(Mapped {
            start: start.ok()? as usize,
            len,
        })
    }

    fn units(&self) -> &[UnitEntry] {
        if self.len == 0 {
            return &[];
        }
        let count = self.len / size_of::<UnitEntry>();
        // SAFETY: so many bytes are mapped, from a page's start on; any bytes are such values. Nobody changes the
        // file: it was made for this, and belongs to who let this process begin.
        unsafe { std::slice::from_raw_parts(self.start as *const UnitEntry, count) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the range is the mapping that `new` made. A failure leaks address space.
            let _ = unsafe { munmap(self.start as *mut _, self.len) };
        }
    }
}

/// Values as bytes, for a file.
pub(super) fn as_bytes<T: Entry>(values: &[T]) -> &[u8] {
    // SAFETY: entries have no padding, so all their bytes are initialized.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// And back. `None` when the bytes are no whole number of them.
pub(super) fn from_bytes<T: Entry>(bytes: &[u8]) -> Option<Vec<T>> {
    bytes.len().is_multiple_of(size_of::<T>()).then_some(())?;
    let chunks = bytes.chunks_exact(size_of::<T>());
    // SAFETY: so many bytes are there, and any bytes are such a value.
    Some(
        chunks
            .map(|chunk| unsafe { chunk.as_ptr().cast::<T>().read_unaligned() })
            .collect(),
    )
}

/// What is in tables of a file.
///
/// # Safety
/// Any bytes are a value, and none of a value's bytes is padding.
pub(super) unsafe trait Entry: Copy {}
// SAFETY: whole numbers, the long one first, that fill it.
unsafe impl Entry for PageEntry {}
// SAFETY: whole numbers of one size.
unsafe impl Entry for UnitEntry {}
// SAFETY: a whole number.
unsafe impl Entry for u64 {}

/// All translations that were another's.
#[derive(Debug)]
pub(super) struct Inherited {
    /// By page.
    pages: Vec<PageEntry>,
    units: Mapped,
    /// Where the first byte of all code runs, and how many bytes of it there can be.
    base: u64,
    room: usize,
}

impl Inherited {
    /// `pages` are in order. Each is noted as holding code, so that whoever writes there from now on is heard.
    pub(super) fn new(
        cpu: &mut Cpu,
        mut pages: Vec<PageEntry>,
        units: Mapped,
        base: u64,
        room: usize,
    ) -> Inherited {
        pages.retain_mut(|entry| {
            let noted = CodePage::note(cpu, entry.page, Lines(entry.lines));
            entry.generation = noted.as_ref().map_or(0, |noted| noted.generation);
            noted.is_some()
        });
        Inherited {
            pages,
            units,
            base,
            room,
        }
    }

    /// The page as it was noted, and where its units are, if its code is still what it was.
    pub(super) fn of_page(&self, cpu: &Cpu, page: u64) -> Option<(CodePage, Range<u32>)> {
        let number = self.pages.binary_search_by_key(&page, |entry| entry.page);
        let entry = self.pages.get(number.ok()?)?;
        let source = CodePage::of_generation(cpu, page, entry.generation)?;
        source.is_current().then(|| (source, entry.units()))
    }

    /// What is known of the code with this key in the page that has these units: as `PageCode::units` says it.
    pub(super) fn unit(&self, units: &Range<u32>, key: u32) -> Option<Option<Unit>> {
        let units = self.units(units);
        let number = units.binary_search_by_key(&key, |unit| unit.key).ok()?;
        let entry = units.get(number)?;
        let inside = |offset: u32| (offset as usize) < self.room;
        Some((inside(entry.inner) && inside(entry.outer)).then(|| Unit {
            inner: self.base + u64::from(entry.inner),
            outer: self.base + u64::from(entry.outer),
        }))
    }

    /// As they are in a file, by key.
    pub(super) fn units(&self, range: &Range<u32>) -> &[UnitEntry] {
        let range = range.start as usize..range.end as usize;
        self.units.units().get(range).unwrap_or_default()
    }

    /// Pages whose code is still what it was.
    pub(super) fn current(&self, cpu: &Cpu) -> impl Iterator<Item = &PageEntry> {
        self.pages.iter().filter(|entry| {
            let page = CodePage::of_generation(cpu, entry.page, entry.generation);
            page.is_some_and(|page| page.is_current())
        })
    }
}
