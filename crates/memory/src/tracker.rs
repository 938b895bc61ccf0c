//! Per-page facts about one RAM region: dirty since the log was last read, and holding decoded code.
//!
//! Problem: a software engine writes guest RAM through cached host pointers, and decodes guest code
//! into blocks. A write to decoded code must make those blocks unusable, on whatever thread they run;
//! a write to a clean page must be logged; and a write to data that merely lies on a page with code
//! should cost nothing. Choice: which *lines* of a page hold decoded code is known ([`Lines`]). An
//! engine may write directly to lines that hold none, of pages that are dirty already if the log is
//! on; all other writes come through [`PageTracker::note_write`], which ends all blocks of a page by
//! adding one to its *generation*. A decoded block remembers the generation of its pages and is
//! dead when they differ; every vCPU's [`Bell`](crate::Bell) tells of that too.
//!
//! Whoever is about to write asks [`PageTracker::claim`] first, which answers what may not be written
//! directly. A vCPU remembers which pages it has claimed. When code is decoded from lines that held
//! none, and the page was claimed since that happened last, the page is named to every other vCPU; one
//! that has claimed it gives up its direct pointers at its next look at the bell, and adds one to
//! the generation in case it wrote there meanwhile. Whatever it writes later, it must claim again.
//!
//! Rejected: host page protection (a fault costs 5 us; the guest's kernel patches itself often),
//! stopping all vCPUs at each newly decoded page (one host scheduling delay per page), and a
//! generation for each line (sixty times the memory; code that shares a page mostly dies together).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

use crate::bell::Bells;
use crate::zeroed_raw::zeroed;
use crate::{Bell, Gpa, Lines, PAGE_SHIFT};

#[derive(Debug, Default)]
struct Pages {
    dirty: Box<[AtomicU64]>,
    /// Low half: lines that an engine has decoded code from. High half: generation. One word, so that
    /// a generation is never seen with the lines of another.
    code: Box<[AtomicU64]>,
    /// One bit a page: some vCPU may write it directly, or is writing it.
    claimed: Box<[AtomicU64]>,
    /// One bit a page: vCPUs do not write it, what they write is told to the machine.
    rom: Box<[AtomicU64]>,
    /// One bit a page: a vCPU does not find memory there at all.
    hidden: Box<[AtomicU64]>,
    logging: AtomicBool,
    /// Where the region begins, which may change for a device's.
    first: AtomicU64,
    bells: Arc<Bells>,
}

/// What a vCPU finds at a page. Devices find the memory behind it, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Memory.
    Ram,
    /// Memory that vCPUs cannot write: what they write is an access to a device.
    Rom,
    /// None: every access is one to a device.
    Hidden,
}

/// Shared handle to one region's page facts. Cloning shares; a slice knows its offset.
#[derive(Debug, Default, Clone)]
pub struct PageTracker {
    pages: Arc<Pages>,
    base: usize,
}

const ONE_GENERATION: u64 = 1 << 32;

fn bit(bits: &[AtomicU64], page: usize) -> bool {
    bits.get(page / 64)
        .is_some_and(|word| word.load(Ordering::Acquire) & (1 << (page % 64)) != 0)
}

fn set_bit(bits: &[AtomicU64], page: usize, set: bool) {
    let Some(word) = bits.get(page / 64) else {
        return;
    };
    if set {
        word.fetch_or(1 << (page % 64), Ordering::AcqRel);
    } else {
        word.fetch_and(!(1 << (page % 64)), Ordering::AcqRel);
    }
}

fn lines_of(word: u64) -> Lines {
    Lines(u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX))
}

fn generation_of(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(u32::MAX)
}

impl PageTracker {
    pub(crate) fn new(first: Gpa, len: usize, bells: Arc<Bells>) -> PageTracker {
        let page_count = len.div_ceil(1 << PAGE_SHIFT);
        let pages = Pages {
            dirty: zeroed(page_count.div_ceil(64)),
            code: zeroed(page_count),
            claimed: zeroed(page_count.div_ceil(64)),
            rom: zeroed(page_count.div_ceil(64)),
            hidden: zeroed(page_count.div_ceil(64)),
            logging: AtomicBool::new(false),
            first: AtomicU64::new(first.0),
            bells,
        };
        PageTracker {
            pages: Arc::new(pages),
            base: 0,
        }
    }

    /// A write to `lines` of page `page` (index in the region) has happened or is about to.
    pub fn note_write(&self, page: usize, lines: Lines) {
        let Some(code) = self.pages.code.get(page) else {
            return;
        };
        if self.pages.logging.load(Ordering::Relaxed) {
            self.pages.dirty[page / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
        // A write that came before is seen by whoever decodes the page after this look at it.
        fence(Ordering::SeqCst);
        let kill = |word| {
            lines_of(word)
                .meets(lines)
                .then(|| (word & !u64::from(u32::MAX)).wrapping_add(ONE_GENERATION))
        };
        // Every decoded block of this page is dead from there on.
        let killed = code.fetch_update(Ordering::AcqRel, Ordering::Relaxed, kill);
        if killed.is_ok() {
            self.pages.bells.code_died(self.gpa(page));
        }
    }

    /// The caller is a vCPU that may write the page from now on, directly to all lines but those
    /// answered.
    #[must_use]
    pub fn claim(&self, page: usize) -> Lines {
        let (Some(claimed), bit) = (self.pages.claimed.get(page / 64), 1 << (page % 64)) else {
            return Lines::ALL;
        };
        // In order with the look at the page's lines: of a claim and a decoding, one sees the other.
        if claimed.load(Ordering::Acquire) & bit == 0 {
            claimed.fetch_or(bit, Ordering::SeqCst);
        }
        self.guarded(page)
    }

    /// The lines of the page of which a write must be told: all, where the log does not know of it.
    #[must_use]
    pub fn guarded(&self, page: usize) -> Lines {
        let Some(code) = self.pages.code.get(page) else {
            return Lines::ALL;
        };
        if self.kind(page) != PageKind::Ram {
            return Lines::ALL;
        }
        let logged = !self.pages.logging.load(Ordering::Relaxed)
            || self.pages.dirty[page / 64].load(Ordering::Relaxed) & (1 << (page % 64)) != 0;
        if logged {
            lines_of(code.load(Ordering::SeqCst))
        } else {
            Lines::ALL
        }
    }

    /// What vCPUs find at the page.
    #[must_use]
    #[inline]
    pub fn kind(&self, page: usize) -> PageKind {
        if !bit(&self.pages.rom, page) {
            PageKind::Ram
        } else if bit(&self.pages.hidden, page) {
            PageKind::Hidden
        } else {
            PageKind::Rom
        }
    }

    /// How many pages from `page` on, at most `most`, are of one kind.
    #[must_use]
    pub fn same_kind(&self, page: usize, most: usize) -> usize {
        let (kind, end) = (self.kind(page), page.saturating_add(most));
        let mut at = page;
        while at < end && self.kind(at) == kind {
            let plain = at.is_multiple_of(64)
                && self
                    .pages
                    .rom
                    .get(at / 64)
                    .map(|word| word.load(Ordering::Acquire))
                    == Some(0);
            at += if plain { 64 } else { 1 };
        }
        at.min(end) - page
    }

    /// Whoever changes it tells the vCPUs' bells afterwards.
    pub(crate) fn set_kind(&self, page: usize, kind: PageKind) {
        set_bit(&self.pages.hidden, page, kind == PageKind::Hidden);
        set_bit(&self.pages.rom, page, kind != PageKind::Ram);
    }

    /// How often decoded code of the page died.
    #[must_use]
    #[inline]
    pub fn generation(&self, page: usize) -> Option<u32> {
        let code = self.pages.code.get(page)?;
        Some(generation_of(code.load(Ordering::Acquire)))
    }

    /// The lines of the page that code of its generation was decoded from.
    #[must_use]
    pub fn code_lines(&self, page: usize) -> Lines {
        let code = self.pages.code.get(page);
        code.map_or(Lines::NONE, |code| lines_of(code.load(Ordering::Acquire)))
    }

    /// Code is about to be decoded from `lines` of the page. Answers the generation that its blocks
    /// remember. Call it before reading the bytes for the last time, and end direct writes of the vCPU
    /// with the bell `own`; the others' bells ring.
    #[must_use]
    pub fn note_code(&self, page: usize, lines: Lines, own: &Bell) -> u32 {
        let Some(code) = self.pages.code.get(page) else {
            return 0;
        };
        let before = code.fetch_or(lines.0.into(), Ordering::SeqCst);
        let news = !lines.without(lines_of(before)).is_empty();
        let (claimed, bit) = (&self.pages.claimed[page / 64], 1 << (page % 64));
        if news
            && claimed.load(Ordering::SeqCst) & bit != 0
            && claimed.fetch_and(!bit, Ordering::SeqCst) & bit != 0
        {
            self.pages.bells.unplain(own, self.gpa(page));
        }
        generation_of(before)
    }

    fn gpa(&self, page: usize) -> Gpa {
        let first = self.pages.first.load(Ordering::Relaxed);
        Gpa(first.wrapping_add((page as u64) << PAGE_SHIFT))
    }

    /// The region begins there from now on.
    pub(crate) fn move_to(&self, first: Gpa) {
        self.pages.first.store(first.0, Ordering::Relaxed);
    }

    /// All decoded blocks are dead from there on.
    pub(crate) fn kill_code(&self) {
        for (page, code) in self.pages.code.iter().enumerate() {
            let kill = |word| {
                let known = !lines_of(word).is_empty();
                known.then(|| (word & !u64::from(u32::MAX)).wrapping_add(ONE_GENERATION))
            };
            let killed = code.fetch_update(Ordering::AcqRel, Ordering::Relaxed, kill);
            if killed.is_ok() {
                self.pages.bells.code_died(self.gpa(page));
            }
        }
    }

    pub(crate) fn is_logging(&self) -> bool {
        self.pages.logging.load(Ordering::Acquire)
    }

    /// Starts or stops the dirty log. Starting forgets what was logged before.
    pub(crate) fn set_logging(&self, on: bool) {
        if on {
            for word in &self.pages.dirty {
                word.store(0, Ordering::Relaxed);
            }
        }
        self.pages.logging.store(on, Ordering::Release);
        self.pages.bells.all_unplain();
    }

    /// Bitmap of pages written since the last call, one bit a page; clears it.
    pub(crate) fn take_dirty(&self) -> Vec<u64> {
        let taken = self
            .pages
            .dirty
            .iter()
            .map(|word| word.swap(0, Ordering::AcqRel))
            .collect();
        self.pages.bells.all_unplain();
        taken
    }

    /// As [`PageTracker::take_dirty`], by number: only these pages have to be claimed anew.
    pub(crate) fn take_dirty_pages(&self) -> Vec<usize> {
        let mut pages = Vec::new();
        for (index, word) in self.pages.dirty.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut rest = word.swap(0, Ordering::AcqRel);
            while rest != 0 {
                pages.push(index * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
        if !pages.is_empty() {
            let named: Vec<Gpa> = pages.iter().map(|page| self.gpa(*page)).collect();
            self.pages.bells.pages_unplain(&named);
        }
        pages
    }
}

impl<'a> WithBitmapSlice<'a> for PageTracker {
    type S = PageTracker;
}

impl BitmapSlice for PageTracker {}

impl Bitmap for PageTracker {
    fn mark_dirty(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        let (mut at, end) = (self.base + offset, self.base + offset + len);
        while at < end {
            let page = at >> PAGE_SHIFT;
            let next = (page + 1) << PAGE_SHIFT;
            let here = next.min(end) - at;
            self.note_write(page, Lines::of(at as u64, here as u64));
            at = next;
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        let page = (self.base + offset) >> PAGE_SHIFT;
        self.pages
            .dirty
            .get(page / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (page % 64)) != 0)
    }

    fn slice_at(&self, offset: usize) -> PageTracker {
        PageTracker {
            pages: Arc::clone(&self.pages),
            base: self.base + offset,
        }
    }
}

impl NewBitmap for PageTracker {
    fn with_len(len: usize) -> PageTracker {
        PageTracker::new(Gpa(0), len, Arc::default())
    }
}

#[cfg(test)]
mod tests;
