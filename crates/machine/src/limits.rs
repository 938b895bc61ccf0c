//! What a guest may take of the host at most, where no control group keeps it to that.

use std::time::{Duration, Instant};

use devices::virtio::RateGate;
pub use devices::virtio::RateLimit;
use devices::virtio::net::Gates;

/// Bounds that hold from now on; `None` is without.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of processor time, in processors: 1.5 is all of one and half of another.
    pub cpu: Option<f64>,
    /// All disks together.
    pub disk: RateLimit,
    /// In each direction.
    pub network: RateLimit,
}

/// The places in devices where passing things are counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct DeviceGates {
    pub(crate) disk: RateGate,
    pub(crate) network: Gates,
}

impl DeviceGates {
    pub(crate) fn set(&self, limits: &Limits) {
        self.disk.set(limits.disk);
        self.network.from_guest.set(limits.network);
        self.network.to_guest.set(limits.network);
    }
}

/// Seconds' worth of processor time that a guest which has rested may take at once.
const BURST: f64 = 0.05;
/// Seconds' worth that it gets at least, when it goes on.
const QUANTUM: f64 = 0.01;
/// The longest time between two looks.
const PATIENCE: f64 = 0.1;
/// The shortest. Seconds.
const HASTE: f64 = 0.001;

/// What its owner does until the next look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Turn {
    Run(Duration),
    Hold(Duration),
}

/// Processor time that a guest may still take. What it took too much until somebody looked, it pays
/// for by standing still, so that over time it gets its share and no more.
#[derive(Debug)]
pub(crate) struct CpuBudget {
    /// Processors.
    share: f64,
    /// How many its threads may keep busy at once.
    most: f64,
    /// Seconds; less than nothing after too much.
    level: f64,
    held: bool,
}

impl CpuBudget {
    pub(crate) fn new(share: f64, threads: usize) -> CpuBudget {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        CpuBudget {
            share,
            most: f64::from(threads).max(share),
            level: share * BURST,
            held: false,
        }
    }

    /// So much time went by, in which so much processor time was taken.
    pub(crate) fn account(&mut self, elapsed: Duration, taken: Duration) -> Turn {
        let earned = elapsed.as_secs_f64() * self.share;
        self.level = (self.level + earned - taken.as_secs_f64()).min(self.share * BURST);
        let enough = if self.held { self.share * QUANTUM } else { 0.0 };
        self.held = self.level <= enough;
        let wait = if self.held {
            (self.share * QUANTUM - self.level) / self.share
        } else {
            // When all its threads run.
            self.level / self.most
        };
        let wait = Duration::from_secs_f64(wait.clamp(HASTE, PATIENCE));
        if self.held {
            Turn::Hold(wait)
        } else {
            Turn::Run(wait)
        }
    }
}

/// When somebody looked last.
#[derive(Debug)]
pub(crate) struct Look {
    at: Instant,
    taken: Duration,
}

impl Look {
    pub(crate) fn now() -> Look {
        let taken = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Look {
            at: Instant::now(),
            taken: Duration::try_from(taken).unwrap_or_default(),
        }
    }

    /// Elapsed and taken since `before`.
    pub(crate) fn since(&self, before: &Look) -> (Duration, Duration) {
        (
            self.at.saturating_duration_since(before.at),
            self.taken.saturating_sub(before.taken),
        )
    }
}

#[cfg(test)]
mod tests;
