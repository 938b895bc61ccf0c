//! The guest's time: the machine's clock, timers, the TSC's rate, and kvmclock.

mod clock;
mod guest_tsc;
pub(crate) mod kvmclock;
mod timers;
mod tsc;
mod tsc_raw;

pub use clock::MachineClock;
pub(crate) use guest_tsc::GuestTsc;
pub(crate) use kvmclock::Reference;
pub(crate) use timers::{QueueTimer, TimerQueue};
pub use tsc::TscRate;
