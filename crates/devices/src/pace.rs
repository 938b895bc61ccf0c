//! What keeps a device that works on its guest's processors to a rate ([`RateGate`]): where nothing may pass, the
//! command waits where the guest has put it, and an alarm says when to look again.

use std::sync::Arc;

use crate::virtio::RateGate;
use crate::{Clock, Timer};

/// One device's. The owner of its timer calls the device when that expires.
#[derive(Debug, Clone)]
pub struct Pace {
    gate: RateGate,
    alarm: Option<Alarm>,
}

/// Clones share it: parts of a device, and threads of the host, wait for it for reasons of their own.
#[derive(Debug, Clone)]
struct Alarm {
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
}

impl Alarm {
    /// Comes after so many nanoseconds, or before that if somebody waits for less.
    fn set(&self, wait: u64) {
        self.timer.arm_by(self.clock.now().saturating_add(wait));
    }
}

impl Pace {
    #[must_use]
    pub fn new(gate: RateGate, clock: Arc<dyn Clock>, timer: Arc<dyn Timer>) -> Pace {
        Pace {
            gate,
            alarm: Some(Alarm { clock, timer }),
        }
    }

    /// Whatever comes passes.
    #[must_use]
    pub fn free() -> Pace {
        Pace {
            gate: RateGate::default(),
            alarm: None,
        }
    }

    /// May something pass now? If not, the alarm is set.
    pub(crate) fn may_pass(&self) -> bool {
        let Some((wait, alarm)) = self.gate.wait().zip(self.alarm.as_ref()) else {
            return true;
        };
        alarm.set(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        false
    }

    /// The rest is done when the alarm comes, which is at once. False where there is none.
    pub(crate) fn yields(&self) -> bool {
        if let Some(alarm) = &self.alarm {
            alarm.set(1);
        }
        self.alarm.is_some()
    }

    /// The alarm comes after so many nanoseconds, or before that for other reasons.
    pub(crate) fn come_after(&self, nanoseconds: u64) {
        if let Some(alarm) = &self.alarm {
            alarm.set(nanoseconds);
        }
    }

    /// One operation with so many bytes has passed.
    pub(crate) fn spend(&self, bytes: u64) {
        self.gate.spend(bytes);
    }
}

#[cfg(test)]
mod tests;
