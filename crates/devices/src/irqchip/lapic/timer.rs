//! The local APIC's timer: one-shot, periodic and TSC-deadline.
//!
//! Spec: Intel SDM Vol. 3, "APIC Timer". The countdown is a deadline on the machine's clock, so
//! nothing runs while it counts; a periodic timer's next deadline is the last one plus the period,
//! so it does not drift, and periods that were missed altogether are one interrupt, not many.

use std::sync::Arc;

use super::super::Tsc;
use crate::{Clock, Timer};

/// Frequency of the timer before division, in Hz. CPUID leaf 15h must name the same as the crystal
/// clock, where it is offered, and KVM's timer has the same.
pub const TIMER_HZ: u64 = 1_000_000_000;

const NANOSECONDS_PER_CLOCK: u64 = 1_000_000_000 / TIMER_HZ;

/// A guest that asks for a faster periodic interrupt gets this, in nanoseconds: the host must not
/// spend its time in a guest's timer.
const SHORTEST_PERIOD: u64 = 200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerMode {
    OneShot,
    Periodic,
    TscDeadline,
}

impl TimerMode {
    /// From bits 18:17 of the timer's LVT; the reserved encoding counts as TSC-deadline.
    pub(super) fn from_lvt(lvt: u32) -> TimerMode {
        match lvt >> 17 & 3 {
            0 => TimerMode::OneShot,
            1 => TimerMode::Periodic,
            _ => TimerMode::TscDeadline,
        }
    }
}

#[derive(Debug)]
pub(super) struct ApicTimer {
    cpu: u32,
    mode: TimerMode,
    initial: u32,
    /// Timer clocks a count, 1 to 128.
    divider: u32,
    /// When the countdown, or the TSC deadline, ends; nanoseconds of `clock`.
    deadline: Option<u64>,
    /// IA32_TSC_DEADLINE: 0 when not armed.
    tsc_deadline: u64,
    clock: Arc<dyn Clock>,
    alarm: Arc<dyn Timer>,
    tsc: Arc<dyn Tsc>,
}

/// The divide configuration register's bits 3, 1 and 0.
fn divider(register: u32) -> u32 {
    match register & 0xb {
        0xb => 1,
        bits => 2 << (bits >> 1 & 4 | bits & 3),
    }
}

impl ApicTimer {
    pub(super) fn new(
        cpu: u32,
        clock: Arc<dyn Clock>,
        alarm: Arc<dyn Timer>,
        tsc: Arc<dyn Tsc>,
    ) -> ApicTimer {
        ApicTimer {
            cpu,
            mode: TimerMode::OneShot,
            initial: 0,
            divider: 2,
            deadline: None,
            tsc_deadline: 0,
            clock,
            alarm,
            tsc,
        }
    }

    pub(super) fn reset(&mut self) {
        self.mode = TimerMode::OneShot;
        self.initial = 0;
        self.divider = 2;
        self.stop();
    }

    fn stop(&mut self) {
        self.deadline = None;
        self.tsc_deadline = 0;
        self.alarm.disarm();
    }

    fn arm(&mut self, deadline: u64) {
        self.deadline = Some(deadline);
        self.alarm.arm(deadline);
    }

    fn nanoseconds(&self, counts: u32) -> u64 {
        u64::from(counts) * u64::from(self.divider) * NANOSECONDS_PER_CLOCK
    }

    fn period(&self) -> u64 {
        self.nanoseconds(self.initial).max(SHORTEST_PERIOD)
    }

    /// Has the timer fired since it was last asked? Re-arms a periodic one.
    pub(super) fn take_expired(&mut self) -> bool {
        let now = self.clock.now();
        let Some(deadline) = self.deadline.filter(|&deadline| deadline <= now) else {
            return false;
        };
        if self.mode == TimerMode::Periodic && self.initial != 0 {
            let period = self.period();
            let missed = (now - deadline) / period;
            self.arm(deadline.saturating_add(period.saturating_mul(missed + 1)));
        } else {
            self.stop();
        }
        true
    }

    /// Spec: changing between one-shot and periodic leaves the countdown alone, changing to or from
    /// TSC-deadline disarms.
    pub(super) fn set_mode(&mut self, mode: TimerMode) {
        let changes = (mode == TimerMode::TscDeadline) != (self.mode == TimerMode::TscDeadline);
        self.mode = mode;
        if changes {
            self.initial = 0;
            self.stop();
        }
    }

    pub(super) fn set_initial(&mut self, count: u32) {
        if self.mode == TimerMode::TscDeadline {
            return;
        }
        self.initial = count;
        if count == 0 {
            self.stop();
            return;
        }
        let length = match self.mode {
            TimerMode::Periodic => self.period(),
            _ => self.nanoseconds(count),
        };
        self.arm(self.clock.now().saturating_add(length));
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) fn current(&self) -> u32 {
        if self.mode == TimerMode::TscDeadline {
            return 0;
        }
        let Some(deadline) = self.deadline else {
            return 0;
        };
        let left = deadline.saturating_sub(self.clock.now()) / NANOSECONDS_PER_CLOCK;
        let counts = left.div_ceil(u64::from(self.divider));
        // A stretched period shows no more than the count that the guest asked for.
        u32::try_from(counts).unwrap_or(u32::MAX).min(self.initial)
    }

    pub(super) fn set_divide(&mut self, register: u32) {
        let left = self.current();
        self.divider = divider(register);
        if self.mode != TimerMode::TscDeadline && self.deadline.is_some() {
            self.arm(self.clock.now().saturating_add(self.nanoseconds(left)));
        }
    }

    pub(super) fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    pub(super) fn set_tsc_deadline(&mut self, value: u64) {
        if self.mode != TimerMode::TscDeadline {
            return;
        }
        self.tsc_deadline = value;
        if value == 0 {
            self.stop();
        } else {
            self.arm(self.tsc.when(self.cpu, value));
        }
    }

    /// The relation of TSC and clock changed.
    pub(super) fn tsc_moved(&mut self) {
        if self.tsc_deadline != 0 {
            self.set_tsc_deadline(self.tsc_deadline);
        }
    }

    /// Continues a saved countdown.
    pub(super) fn resume(&mut self, saved: SavedTimer) {
        self.reset();
        self.mode = TimerMode::from_lvt(saved.lvt);
        self.divider = divider(saved.divide);
        if self.mode == TimerMode::TscDeadline {
            self.set_tsc_deadline(saved.tsc_deadline);
            return;
        }
        self.initial = saved.initial;
        if saved.current != 0 {
            let left = self.nanoseconds(saved.current);
            self.arm(self.clock.now().saturating_add(left));
        }
    }
}

/// What of a timer is in a saved APIC page.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedTimer {
    pub(super) lvt: u32,
    pub(super) divide: u32,
    pub(super) initial: u32,
    pub(super) current: u32,
    pub(super) tsc_deadline: u64,
}
