use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::{PATIENCE, RateGate, RateLimit};

fn gate(bytes: u64, operations: u64, now: Instant) -> RateGate {
    let gate = RateGate::default();
    gate.set_at(
        RateLimit {
            bytes: NonZeroU64::new(bytes),
            operations: NonZeroU64::new(operations),
        },
        now,
    );
    gate
}

/// How many requests of `bytes` pass in `seconds`, when each goes as soon as it may.
fn passed(gate: &RateGate, bytes: u64, begun: Instant, seconds: u64) -> u64 {
    let end = begun + Duration::from_secs(seconds);
    let mut now = begun;
    let mut count = 0;
    while now < end {
        match gate.wait_at(now) {
            Some(wait) => now += wait,
            None => {
                gate.spend(bytes);
                count += 1;
            }
        }
    }
    count
}

#[test]
fn without_a_limit_everything_passes() {
    let now = Instant::now();
    let gate = gate(0, 0, now);
    gate.spend(u64::MAX);
    assert_eq!(gate.wait_at(now), None);
}

#[test]
fn operations_pass_at_their_rate_whatever_their_length() {
    let now = Instant::now();
    let count = passed(&gate(0, 1000, now), 1 << 20, now, 10);
    // With what may pass at once, and the one that may go beyond.
    assert!((10_000..=10_102).contains(&count), "{count}");
}

#[test]
fn bytes_pass_at_their_rate_in_requests_of_any_length() {
    for length in [512, 4096, 1 << 20, 64 << 20] {
        let now = Instant::now();
        let count = passed(&gate(10 << 20, 0, now), length, now, 100);
        let allowed = (1001 << 20) / length;
        assert!(
            (allowed.saturating_sub(1)..=allowed + 2).contains(&count),
            "{length}: {count}"
        );
    }
}

#[test]
fn the_narrower_of_both_counts() {
    let now = Instant::now();
    let count = passed(&gate(1 << 30, 100, now), 4096, now, 10);
    assert!((1000..=1012).contains(&count), "{count}");
    let count = passed(&gate(409_600, 1_000_000, now), 4096, now, 10);
    assert!((1000..=1012).contains(&count), "{count}");
}

#[test]
fn a_rest_is_not_saved_up_for_ever() {
    let now = Instant::now();
    let gate = gate(0, 100, now);
    let later = now + Duration::from_secs(3600);
    assert!(passed(&gate, 1, later, 1) <= 112);
}

#[test]
fn a_change_is_seen_soon_and_old_debts_are_forgotten() {
    let now = Instant::now();
    let gate = gate(1, 0, now);
    gate.spend(1 << 40);
    assert_eq!(gate.wait_at(now), Some(PATIENCE));
    gate.set_at(RateLimit::default(), now);
    assert_eq!(gate.wait_at(now), None);
}
