//! The guest's clock, which stood still while the guest did.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

use crate::errand::{Answer, Refusal};

const SECOND: u64 = 1_000_000_000;

/// Sets the clock to `wanted` nanoseconds since 1970; answers by how many it was ahead of that.
pub(crate) fn set(wanted: u64) -> Answer {
    let before = SystemTime::now().duration_since(UNIX_EPOCH);
    let before = before.unwrap_or(Duration::ZERO).as_nanos();
    // Neither is above what a u64 of nanoseconds leaves of it.
    let time = Timespec {
        tv_sec: i64::try_from(wanted / SECOND).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(wanted % SECOND).unwrap_or(0),
    };
    clock_settime(ClockId::Realtime, time)
        .map_err(|error| Refusal::new("cannot set the clock", &io::Error::from(error)))?;
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let ahead = before.saturating_sub_unsigned(wanted);
    Ok(ahead.to_le_bytes().to_vec())
}
