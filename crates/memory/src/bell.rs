//! How vCPUs hear that something about memory changed, or that somebody wants them.
//!
//! Problem: translated code runs on without looking at anything but one word. Choice: each vCPU has
//! a [`Bell`], one atomic word that it looks at on its way round; whoever has news sets a bit. News
//! of dead code names the pages, so that a vCPU need not look through all it has translated.
//! Rejected: one counter for all (three loads at each look instead of two, and no names).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Gpa;

/// News, as bits of [`Bell::word`].
pub mod news {
    /// The vCPU shall return to its caller.
    pub const KICK: u32 = 1 << 0;
    /// Some page stopped being plain (see [`crate::PageTracker`]): drop direct writes to such.
    pub const UNPLAIN: u32 = 1 << 1;
    /// Code of some page died: see [`super::Bell::take_dead`].
    pub const DEAD_CODE: u32 = 1 << 2;
}

/// More dead pages than this are told as "all".
const MOST_DEAD: usize = 256;

/// Pages whose decoded code died.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum DeadCode {
    /// These, possibly some twice.
    Pages(Vec<Gpa>),
    /// Any page may be among them.
    #[default]
    All,
}

/// One vCPU's bell.
#[derive(Debug)]
pub struct Bell {
    word: AtomicU32,
    dead: Mutex<DeadCode>,
}

impl Default for Bell {
    fn default() -> Bell {
        Bell {
            word: AtomicU32::new(0),
            dead: Mutex::new(DeadCode::Pages(Vec::new())),
        }
    }
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
    pub fn take_dead(&self) -> DeadCode {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *dead, DeadCode::Pages(Vec::new()))
    }

    fn code_died(&self, page: Gpa) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if let DeadCode::Pages(pages) = &mut *dead {
            if pages.len() < MOST_DEAD {
                pages.push(page);
            } else {
                *dead = DeadCode::All;
            }
        }
        drop(dead);
        self.ring(news::DEAD_CODE);
    }
}

/// The bells of all vCPUs of one guest.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    bells: Mutex<Vec<Weak<Bell>>>,
}

impl Bells {
    pub(crate) fn add(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.strong_count() != 0);
        bells.push(Arc::downgrade(&bell));
        bell
    }

    fn each(&self, tell: impl Fn(&Bell)) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in bells.iter().filter_map(Weak::upgrade) {
            tell(&bell);
        }
    }

    pub(crate) fn ring(&self, bits: u32) {
        self.each(|bell| bell.ring(bits));
    }

    /// Rings all but one.
    pub(crate) fn ring_others(&self, own: &Bell, bits: u32) {
        self.each(|bell| {
            if !std::ptr::eq(bell, own) {
                bell.ring(bits);
            }
        });
    }

    pub(crate) fn code_died(&self, page: Gpa) {
        self.each(|bell| bell.code_died(page));
    }
}

#[cfg(test)]
mod tests;
