//! The guest's TSC: the host's plus an offset, which the vCPUs of one guest share.
//!
//! A state says what the TSC *was*; between reading the host's counter for it and reading it again
//! when the state is set, time passes. Taken literally, each `state` and `set_state` (an INIT, a
//! restored guest) would put one vCPU some microseconds behind the others, and a guest that compares
//! clocks of two processors would see time run backwards. So an offset that is nearly the guest's
//! own is the guest's own; a TSC that was really moved differs by far more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Host ticks (some milliseconds) within which a TSC counts as unmoved.
const TOLERANCE: u64 = 1 << 24;

/// One guest's offset, modulo 2^64.
#[derive(Debug, Clone)]
pub(crate) struct SharedTsc(Arc<AtomicU64>);

impl SharedTsc {
    pub(crate) fn new(offset: u64) -> SharedTsc {
        SharedTsc(Arc::new(AtomicU64::new(offset)))
    }

    pub(crate) fn offset(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The offset that a vCPU gets whose state asks for `offset`. `own` is what it has.
    pub(crate) fn settle(&self, own: u64, offset: u64) -> u64 {
        if near(own, offset) {
            return own;
        }
        let shared = self.offset();
        if near(shared, offset) {
            return shared;
        }
        // The guest's time was set: the vCPUs whose states come next are to agree with this one.
        self.0.store(offset, Ordering::Release);
        offset
    }
}

fn near(a: u64, b: u64) -> bool {
    a.wrapping_sub(b).min(b.wrapping_sub(a)) < TOLERANCE
}

#[cfg(test)]
mod tests;
