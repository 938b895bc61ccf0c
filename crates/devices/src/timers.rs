//! Timers of a PC that are older than the local APIC: the 8254 and the real-time clock.
//!
//! Both count in units of their own crystal, from the machine's clock at zero, so that rounding
//! never adds up to drift. Their saved states hold times of that clock: restore the clock first.

pub mod pit;
pub mod rtc;

const NANOSECONDS: u128 = 1_000_000_000;

/// How many ticks of a crystal of `hz` there were at time `now`.
pub(crate) fn ticks_at(now: u64, hz: u64) -> u64 {
    u64::try_from(u128::from(now) * u128::from(hz) / NANOSECONDS).unwrap_or(u64::MAX)
}

/// The first nanosecond at which `ticks_at` is `tick`.
pub(crate) fn time_of_tick(tick: u64, hz: u64) -> u64 {
    let time = (u128::from(tick) * NANOSECONDS).div_ceil(u128::from(hz.max(1)));
    u64::try_from(time).unwrap_or(u64::MAX)
}
