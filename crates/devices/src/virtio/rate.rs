//! How much may pass a device in a second: set by the host, changed while the guest runs.
//!
//! What passes is counted once it has passed. A request of any length goes while there is anything
//! left, and what it took beyond that is paid for by waiting: nothing is cut into pieces, and over
//! time no more passes than was allowed.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Seconds' worth that may pass at once after a rest.
const BURST: f64 = 0.1;
/// The longest wait before somebody looks again: a limit may have changed meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// What may pass in a second. `None` is without bounds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub bytes: Option<NonZeroU64>,
    /// Requests of a disk, frames of a network card.
    pub operations: Option<NonZeroU64>,
}

/// Where what passes is counted. Clones share it.
#[derive(Debug, Default, Clone)]
pub struct RateGate {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// There is some limit: others pass without the lock.
    limited: AtomicBool,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

/// What may pass now; less than nothing after a long request.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: NonZeroU64, now: Instant) -> Bucket {
        #[expect(
            clippy::cast_precision_loss,
            reason = "one part in 2^52 is near enough"
        )]
        let per_second = per_second.get() as f64;
        Bucket {
            per_second,
            level: per_second * BURST,
            filled: now,
        }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let most = self.per_second * BURST;
        self.level = (self.level + elapsed * self.per_second).min(most);
        let missing = (-self.level / self.per_second).clamp(0.0, PATIENCE.as_secs_f64());
        Duration::from_secs_f64(missing)
    }
}

impl RateGate {
    /// From now on, this passes.
    pub fn set(&self, limit: RateLimit) {
        self.set_at(limit, Instant::now());
    }

    fn set_at(&self, limit: RateLimit, now: Instant) {
        let bucket = |per_second: Option<NonZeroU64>| per_second.map(|it| Bucket::new(it, now));
        let mut buckets = self.buckets();
        buckets.bytes = bucket(limit.bytes);
        buckets.operations = bucket(limit.operations);
        let limited = limit != RateLimit::default();
        self.shared.limited.store(limited, Ordering::Release);
    }

    /// Does anything have to be counted?
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.shared.limited.load(Ordering::Acquire)
    }

    /// How long nothing may pass from now on; `None` when something may.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        if !self.is_limited() {
            return None;
        }
        self.wait_at(Instant::now())
    }

    fn wait_at(&self, now: Instant) -> Option<Duration> {
        let mut buckets = self.buckets();
        let Buckets { bytes, operations } = &mut *buckets;
        let waits = [bytes, operations].into_iter().flatten();
        let wait = waits.map(|bucket| bucket.wait(now)).max()?;
        (wait > Duration::ZERO).then_some(wait)
    }

    /// One operation with so many bytes has passed.
    pub fn spend(&self, bytes: u64) {
        if !self.is_limited() {
            return;
        }
        self.spend_more(bytes);
        if let Some(bucket) = &mut self.buckets().operations {
            bucket.level -= 1.0;
        }
    }

    /// An operation that was counted moves so many bytes more.
    pub fn spend_more(&self, bytes: u64) {
        if !self.is_limited() {
            return;
        }
        let mut buckets = self.buckets();
        if let Some(bucket) = &mut buckets.bytes {
            // What is not in 52 bits is not in a guest's memory either.
            #[expect(clippy::cast_precision_loss, reason = "see above")]
            let bytes = bytes as f64;
            bucket.level -= bytes;
        }
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        let buckets = self.shared.buckets.lock();
        buckets.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
