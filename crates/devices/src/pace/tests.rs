use std::num::NonZeroU64;
use std::sync::Arc;

use super::Pace;
use crate::Timer;
use crate::testing::{FakeClock, FakeTimer};
use crate::virtio::{RateGate, RateLimit};

#[test]
fn who_waits_longer_does_not_put_off_who_waits_less() {
    let (gate, clock, timer) = (RateGate::default(), FakeClock::new(), FakeTimer::new());
    let pace = Pace::new(
        gate.clone(),
        Arc::clone(&clock) as _,
        Arc::clone(&timer) as _,
    );
    let other = pace.clone();
    clock.set(1000);
    gate.set(RateLimit {
        bytes: NonZeroU64::new(1),
        operations: None,
    });
    pace.spend(1000);
    assert!(other.yields());
    assert!(!pace.may_pass());
    assert_eq!(timer.deadline(), Some(1001));
    // Once that has come, it does.
    timer.disarm();
    assert!(!pace.may_pass());
    assert!(timer.deadline() > Some(1_000_000));
    // And who waits less comes before it.
    assert!(other.yields());
    assert_eq!(timer.deadline(), Some(1001));
}
