//! Per-page facts about one RAM region: dirty since the log was last read, and holding decoded code.
//!
//! Problem: a software engine writes guest RAM through cached host pointers, and decodes guest code
//! into blocks. A write to a page with decoded code must make those blocks unusable, on whatever
//! thread they run; a write to a clean page must be logged. Choice: an engine may keep a direct
//! write pointer only for a page that is *plain* (no code, and dirty already if the log is on);
//! all other writes come through [`PageTracker::note_write`]. When a page stops being plain, every
//! vCPU's [`Bell`](crate::Bell) rings; at its next look it drops write pointers to pages that are
//! plain no longer, adding one to the page's `generation` in case it wrote there meanwhile. A
//! decoded block remembers the generation of its pages and is dead when they differ; the bells tell
//! of that too.
//! Rejected: host page protection (a fault costs 5 us; the guest's kernel patches itself often),
//! and stopping all vCPUs at each newly decoded page (one host scheduling delay per page).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

use crate::bell::Bells;
use crate::{Bell, Gpa, PAGE_SHIFT, news};

#[derive(Debug, Default)]
struct Pages {
    dirty: Vec<AtomicU64>,
    /// Bit 0: an engine has decoded code from this page. The rest: generation, times two.
    code: Vec<AtomicU32>,
    logging: AtomicBool,
    /// Where the region begins.
    first: Gpa,
    bells: Arc<Bells>,
}

/// Shared handle to one region's page facts. Cloning shares; a slice knows its offset.
#[derive(Debug, Default, Clone)]
pub struct PageTracker {
    pages: Arc<Pages>,
    base: usize,
}

const HAS_CODE: u32 = 1;
const ONE_GENERATION: u32 = 2;

impl PageTracker {
    pub(crate) fn new(first: Gpa, len: usize, bells: Arc<Bells>) -> PageTracker {
        let page_count = len.div_ceil(1 << PAGE_SHIFT);
        let pages = Pages {
            dirty: (0..page_count.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
            code: (0..page_count).map(|_| AtomicU32::new(0)).collect(),
            logging: AtomicBool::new(false),
            first,
            bells,
        };
        PageTracker {
            pages: Arc::new(pages),
            base: 0,
        }
    }

    /// A write of any length inside page `page` (index in the region) has happened or is about to.
    pub fn note_write(&self, page: usize) {
        let Some(code) = self.pages.code.get(page) else {
            return;
        };
        if self.pages.logging.load(Ordering::Relaxed) {
            self.pages.dirty[page / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
        // A write that came before is seen by whoever decodes the page after this look at it.
        fence(Ordering::SeqCst);
        if code.load(Ordering::Relaxed) & HAS_CODE != 0 {
            // Every decoded block of this page is dead from here on, so the page is plain again.
            let _ = code.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                Some(word.wrapping_add(ONE_GENERATION) & !HAS_CODE)
            });
            let offset = (page as u64) << PAGE_SHIFT;
            self.pages.bells.code_died(Gpa(self.pages.first.0 + offset));
        }
    }

    /// May an engine write to this page without telling us each time?
    #[must_use]
    pub fn is_plain(&self, page: usize) -> bool {
        let Some(code) = self.pages.code.get(page) else {
            return false;
        };
        let logged = !self.pages.logging.load(Ordering::Relaxed)
            || self.pages.dirty[page / 64].load(Ordering::Relaxed) & (1 << (page % 64)) != 0;
        logged && code.load(Ordering::Acquire) & HAS_CODE == 0
    }

    /// Where the engine finds the page's code word. A block decoded from the page is alive while
    /// the word equals what [`PageTracker::note_code`] answered.
    #[must_use]
    pub fn code_word(&self, page: usize) -> Option<&AtomicU32> {
        self.pages.code.get(page)
    }

    /// Code is about to be decoded from this page. Answers the code word its blocks remember.
    /// Call it before reading the bytes, and end direct writes of the vCPU with the bell `own`; the
    /// others' bells ring.
    pub fn note_code(&self, page: usize, own: &Bell) -> u32 {
        let Some(code) = self.pages.code.get(page) else {
            return 0;
        };
        let before = code.fetch_or(HAS_CODE, Ordering::AcqRel);
        if before & HAS_CODE == 0 {
            self.pages.bells.ring_others(own, news::UNPLAIN);
        }
        before | HAS_CODE
    }

    /// Starts or stops the dirty log. Starting forgets what was logged before.
    pub(crate) fn set_logging(&self, on: bool) {
        if on {
            for word in &self.pages.dirty {
                word.store(0, Ordering::Relaxed);
            }
        }
        self.pages.logging.store(on, Ordering::Release);
        self.pages.bells.ring(news::UNPLAIN);
    }

    /// Bitmap of pages written since the last call, one bit a page; clears it.
    pub(crate) fn take_dirty(&self) -> Vec<u64> {
        let taken = self
            .pages
            .dirty
            .iter()
            .map(|word| word.swap(0, Ordering::AcqRel))
            .collect();
        self.pages.bells.ring(news::UNPLAIN);
        taken
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
        let first = (self.base + offset) >> PAGE_SHIFT;
        let last = (self.base + offset + len - 1) >> PAGE_SHIFT;
        for page in first..=last {
            self.note_write(page);
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
