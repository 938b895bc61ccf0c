//! How vCPUs hear that something about memory changed, or that somebody wants them.
//!
//! Problem: translated code runs on without looking at anything but one word. Choice: each vCPU has
//! a [`Bell`], one atomic word that it looks at on its way round; whoever has news sets a bit. News
//! of code names the pages, so that a vCPU need not look through all it has translated or may write.
//! Rejected: one counter for all (three loads at each look instead of two, and no names).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Gpa;

/// News, as bits of [`Bell::word`].
pub mod news {
    /// The vCPU shall return to its caller.
    pub const KICK: u32 = 1 << 0;
    /// Pages may be written directly no more (see [`crate::PageTracker`]): [`super::Bell::take_unplain`].
    pub const UNPLAIN: u32 = 1 << 1;
    /// Code of some page died: see [`super::Bell::take_dead`].
    pub const DEAD_CODE: u32 = 1 << 2;
    /// Pages became another [`crate::PageKind`]: nothing that was found of memory holds any more.
    pub const MAP: u32 = 1 << 3;
    /// Device memory lies elsewhere (see [`crate::DeviceMemory`]).
    pub const MOVED: u32 = 1 << 4;
}

/// More pages than this are told as "all".
const MOST_NAMED: usize = 4096;

/// Pages that there is news of.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// These, possibly some twice.
    Pages(Vec<Gpa>),
    /// Any page may be among them.
    All,
}

impl Default for Named {
    fn default() -> Named {
        Named::Pages(Vec::new())
    }
}

impl Named {
    fn add(&mut self, page: Gpa) {
        if let Named::Pages(pages) = self {
            if pages.len() < MOST_NAMED {
                pages.push(page);
            } else {
                *self = Named::All;
            }
        }
    }
}

/// One vCPU's bell.
#[derive(Debug, Default)]
pub struct Bell {
    word: AtomicU32,
    dead: Mutex<Named>,
    unplain: Mutex<Named>,
}

impl Bell {
    /// Sets bits of [`news`].
    pub fn ring(&self, bits: u32) {
        self.word.fetch_or(bits, Ordering::AcqRel);
    }

    /// Is there any news?
    #[must_use]
    #[inline]
    pub fn rings(&self) -> bool {
        self.word.load(Ordering::Relaxed) != 0
    }

    /// Takes all bits of [`news`].
    pub fn answer(&self) -> u32 {
        self.word.swap(0, Ordering::AcqRel)
    }

    /// The word itself, for code that polls it: zero while there is no news.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Takes the list of pages whose code died.
    #[must_use]
    pub fn take_dead(&self) -> Named {
        std::mem::take(&mut *lock(&self.dead))
    }

    /// Takes the list of pages that may be written directly no more.
    #[must_use]
    pub fn take_unplain(&self) -> Named {
        std::mem::take(&mut *lock(&self.unplain))
    }

    fn code_died(&self, page: Gpa) {
        lock(&self.dead).add(page);
        self.ring(news::DEAD_CODE);
    }

    fn unplain(&self, page: Gpa) {
        lock(&self.unplain).add(page);
        self.ring(news::UNPLAIN);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bells of all vCPUs of one guest.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    bells: Mutex<Vec<Weak<Bell>>>,
}

impl Bells {
    pub(crate) fn add(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        let mut bells = lock(&self.bells);
        bells.retain(|bell| bell.strong_count() != 0);
        bells.push(Arc::downgrade(&bell));
        bell
    }

    fn each(&self, tell: impl Fn(&Bell)) {
        let bells = lock(&self.bells);
        for bell in bells.iter().filter_map(Weak::upgrade) {
            tell(&bell);
        }
    }

    /// Any page may be written directly no more.
    pub(crate) fn all_unplain(&self) {
        self.each(|bell| {
            *lock(&bell.unplain) = Named::All;
            bell.ring(news::UNPLAIN);
        });
    }

    /// Pages became of another kind.
    pub(crate) fn remapped(&self) {
        self.each(|bell| bell.ring(news::MAP));
    }

    /// This page may not. Told to all but one.
    pub(crate) fn unplain(&self, own: &Bell, page: Gpa) {
        self.each(|bell| {
            if !std::ptr::eq(bell, own) {
                bell.unplain(page);
            }
        });
    }

    pub(crate) fn code_died(&self, page: Gpa) {
        self.each(|bell| bell.code_died(page));
    }

    /// Device memory lies elsewhere.
    pub(crate) fn moved(&self) {
        self.each(|bell| bell.ring(news::MOVED));
    }

    /// These pages may be written directly no more, by nobody.
    pub(crate) fn pages_unplain(&self, pages: &[Gpa]) {
        self.each(|bell| {
            let mut unplain = lock(&bell.unplain);
            pages.iter().for_each(|page| unplain.add(*page));
            drop(unplain);
            bell.ring(news::UNPLAIN);
        });
    }
}

#[cfg(test)]
mod tests;
