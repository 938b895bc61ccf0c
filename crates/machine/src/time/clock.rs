//! A clock that stands still while the guest is paused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use devices::Clock;

/// Nanoseconds since the guest was created, without the time it was paused. Starts paused.
#[derive(Debug)]
pub struct MachineClock {
    host_start: Instant,
    paused: AtomicBool,
    /// Guest time while paused.
    frozen: AtomicU64,
    /// Guest time minus host time while running, modulo 2^64.
    offset: AtomicU64,
}

impl Default for MachineClock {
    fn default() -> MachineClock {
        MachineClock::at(0)
    }
}

impl MachineClock {
    /// A paused clock that shows `now` nanoseconds.
    #[must_use]
    pub fn at(now: u64) -> MachineClock {
        MachineClock {
            host_start: Instant::now(),
            paused: AtomicBool::new(true),
            frozen: AtomicU64::new(now),
            offset: AtomicU64::new(0),
        }
    }

    fn host(&self) -> u64 {
        // 2^64 nanoseconds are 584 years.
        self.host_start.elapsed().as_nanos() as u64
    }

    pub fn pause(&self) {
        if !self.paused.load(Ordering::Acquire) {
            self.frozen.store(self.now(), Ordering::Release);
            self.paused.store(true, Ordering::Release);
        }
    }

    pub fn resume(&self) {
        if self.paused.load(Ordering::Acquire) {
            let frozen = self.frozen.load(Ordering::Acquire);
            self.offset
                .store(frozen.wrapping_sub(self.host()), Ordering::Release);
            self.paused.store(false, Ordering::Release);
        }
    }

    /// Sets a paused clock, for a restored guest.
    pub fn set(&self, now: u64) {
        self.frozen.store(now, Ordering::Release);
    }

    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }
}

impl Clock for MachineClock {
    fn now(&self) -> u64 {
        if self.paused.load(Ordering::Acquire) {
            self.frozen.load(Ordering::Acquire)
        } else {
            self.host()
                .wrapping_add(self.offset.load(Ordering::Acquire))
        }
    }

    fn wall(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |time| time.as_nanos() as u64)
    }
}
