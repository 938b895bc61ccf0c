//! Stand-ins for the machine in tests of devices: a clock that is set by hand, and lines, timers
//! and outputs that remember what was done to them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::ports::locked;
use crate::{Clock, Line, Lines, MsiSink, Timer};

/// A clock that stands where it is put. Wall time runs with it from a chosen moment.
#[derive(Debug, Default)]
pub struct FakeClock {
    now: AtomicU64,
    wall_at_zero: AtomicU64,
}

impl FakeClock {
    #[must_use]
    pub fn new() -> Arc<FakeClock> {
        Arc::new(FakeClock::default())
    }

    /// `wall` in seconds since 1970 at time zero.
    #[must_use]
    pub fn at_wall(wall: u64) -> Arc<FakeClock> {
        let clock = FakeClock::default();
        clock
            .wall_at_zero
            .store(wall * 1_000_000_000, Ordering::Relaxed);
        Arc::new(clock)
    }

    pub fn set(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    pub fn advance(&self, nanoseconds: u64) {
        self.now.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn wall(&self) -> u64 {
        self.wall_at_zero.load(Ordering::Relaxed) + self.now()
    }
}

/// Remembers the deadline; nothing fires by itself.
#[derive(Debug, Default)]
pub struct FakeTimer {
    deadline: Mutex<Option<u64>>,
}

impl FakeTimer {
    #[must_use]
    pub fn new() -> Arc<FakeTimer> {
        Arc::new(FakeTimer::default())
    }

    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        *locked(&self.deadline)
    }
}

impl Timer for FakeTimer {
    fn arm(&self, deadline: u64) {
        *locked(&self.deadline) = Some(deadline);
    }

    fn arm_by(&self, deadline: u64) {
        let mut before = locked(&self.deadline);
        *before = Some(before.map_or(deadline, |before| before.min(deadline)));
    }

    fn disarm(&self) {
        *locked(&self.deadline) = None;
    }
}

/// Remembers its level and counts rising edges.
#[derive(Debug, Default)]
pub struct FakeLine {
    high: AtomicBool,
    edges: AtomicU32,
}

impl FakeLine {
    #[must_use]
    pub fn new() -> Arc<FakeLine> {
        Arc::new(FakeLine::default())
    }

    #[must_use]
    pub fn high(&self) -> bool {
        self.high.load(Ordering::Relaxed)
    }

    /// Rising edges so far.
    #[must_use]
    pub fn edges(&self) -> u32 {
        self.edges.load(Ordering::Relaxed)
    }
}

impl Line for FakeLine {
    fn set(&self, high: bool) {
        if high && !self.high.swap(high, Ordering::Relaxed) {
            self.edges.fetch_add(1, Ordering::Relaxed);
        }
        self.high.store(high, Ordering::Relaxed);
    }
}

/// Counts what devices ask of the machine.
#[derive(Debug, Default)]
pub struct FakeLines {
    pub a20: AtomicBool,
    pub resets: AtomicU32,
    pub power_offs: AtomicU32,
    pub suspends: AtomicU32,
    pub wakes: AtomicU32,
}

impl FakeLines {
    #[must_use]
    pub fn new() -> Arc<FakeLines> {
        Arc::new(FakeLines::default())
    }

    #[must_use]
    pub fn resets(&self) -> u32 {
        self.resets.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn power_offs(&self) -> u32 {
        self.power_offs.load(Ordering::Relaxed)
    }

    /// How often it was put to sleep and woken.
    #[must_use]
    pub fn sleeps(&self) -> (u32, u32) {
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        (count(&self.suspends), count(&self.wakes))
    }

    #[must_use]
    pub fn a20(&self) -> bool {
        self.a20.load(Ordering::Relaxed)
    }
}

impl Lines for FakeLines {
    fn set_a20(&self, enabled: bool) {
        self.a20.store(enabled, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    fn power_off(&self) {
        self.power_offs.fetch_add(1, Ordering::Relaxed);
    }

    fn suspend(&self) {
        self.suspends.fetch_add(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Remembers every message.
#[derive(Debug, Default)]
pub struct FakeMsi {
    sent: Mutex<Vec<(u64, u32)>>,
}

impl FakeMsi {
    #[must_use]
    pub fn new() -> Arc<FakeMsi> {
        Arc::new(FakeMsi::default())
    }

    /// Address and data of the messages since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut *locked(&self.sent))
    }
}

impl MsiSink for FakeMsi {
    fn send(&self, address: u64, data: u32) {
        locked(&self.sent).push((address, data));
    }
}

/// An output whose bytes can be read back.
#[derive(Debug, Default, Clone)]
pub struct FakeOutput {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl FakeOutput {
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *locked(&self.bytes))
    }
}

impl io::Write for FakeOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.bytes).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
