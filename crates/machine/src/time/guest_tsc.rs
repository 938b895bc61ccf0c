//! Each vCPU's TSC beside the machine's clock, for TSC-deadline timers.

use std::sync::Mutex;

use devices::irqchip::Tsc;

use super::TscRate;
use super::kvmclock::Reference;
use crate::sync::lock;

/// One moment in both times for each vCPU, and the rate between them.
#[derive(Debug)]
pub(crate) struct GuestTsc {
    rate: TscRate,
    moments: Vec<Mutex<Reference>>,
}

impl GuestTsc {
    pub(crate) fn new(rate: TscRate, vcpus: u32) -> GuestTsc {
        let zero = || Mutex::new(Reference { tsc: 0, time: 0 });
        GuestTsc {
            rate,
            moments: (0..vcpus).map(|_| zero()).collect(),
        }
    }

    pub(crate) fn rate(&self) -> TscRate {
        self.rate
    }

    /// vCPU `cpu`'s TSC was `moment.tsc` at `moment.time`.
    pub(crate) fn note(&self, cpu: u32, moment: Reference) {
        if let Some(slot) = self.moments.get(cpu as usize) {
            *lock(slot) = moment;
        }
    }

    /// How long ago the vCPU's moment was, in nanoseconds at time `now`.
    pub(crate) fn age(&self, cpu: u32, now: u64) -> u64 {
        let moment = self.moments.get(cpu as usize).map(|slot| *lock(slot));
        moment.map_or(0, |moment| now.saturating_sub(moment.time))
    }
}

impl Tsc for GuestTsc {
    fn when(&self, cpu: u32, value: u64) -> u64 {
        let Some(slot) = self.moments.get(cpu as usize) else {
            return u64::MAX;
        };
        let moment = *lock(slot);
        match value.checked_sub(moment.tsc) {
            // Rounded up: never early.
            Some(ticks) => moment
                .time
                .saturating_add(self.rate.nanos(ticks).saturating_add(1)),
            None => 0,
        }
    }
}
