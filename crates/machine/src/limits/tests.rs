use std::time::Duration;

use super::{CpuBudget, Turn};

/// What of `seconds` a guest with `threads` busy threads gets, and whether it ever stood still.
fn taken(share: f64, threads: u32, seconds: f64) -> (f64, bool) {
    let mut budget = CpuBudget::new(share, threads as usize);
    let (mut now, mut taken, mut held) = (0.0, 0.0, false);
    let mut turn = budget.account(Duration::ZERO, Duration::ZERO);
    while now < seconds {
        let (wait, busy) = match turn {
            Turn::Run(wait) => (wait, threads),
            Turn::Hold(wait) => (wait, 0),
        };
        held |= busy == 0;
        // Nobody looks at once.
        let elapsed = wait + Duration::from_micros(300);
        now += elapsed.as_secs_f64();
        let used = elapsed * busy;
        taken += used.as_secs_f64();
        turn = budget.account(elapsed, used);
    }
    (taken, held)
}

#[test]
fn a_busy_guest_gets_its_share_and_no_more() {
    for (share, threads) in [(0.01, 1), (0.5, 1), (0.5, 4), (1.5, 2), (3.3, 4)] {
        let (taken, held) = taken(share, threads, 100.0);
        assert!(held);
        assert!(
            (taken / 100.0 / share - 1.0).abs() < 0.01,
            "{share}: {taken}"
        );
    }
}

#[test]
fn a_guest_that_cannot_take_more_never_stands_still() {
    assert!(!taken(2.0, 1, 10.0).1);
    assert!(!taken(1.0, 1, 10.0).1);
}

#[test]
fn a_rest_is_not_saved_up_for_ever() {
    let mut budget = CpuBudget::new(0.5, 1);
    budget.account(Duration::from_secs(3600), Duration::ZERO);
    let turn = budget.account(Duration::from_millis(100), Duration::from_millis(100));
    assert!(matches!(turn, Turn::Hold(_)), "{turn:?}");
}

#[test]
fn a_guest_that_stood_still_goes_on_for_a_while() {
    let mut budget = CpuBudget::new(0.5, 1);
    assert!(matches!(
        budget.account(Duration::ZERO, Duration::from_secs(1)),
        Turn::Hold(_)
    ));
    assert!(matches!(
        budget.account(Duration::from_secs(10), Duration::ZERO),
        Turn::Run(_)
    ));
}
