use std::time::{Duration, Instant};

use crate::pci::PciFunction;
use crate::virtio::rng::Budget;
use crate::virtio::testing::{Buffer, Driver};
use crate::virtio::{Rng, RngLimit};

#[test]
fn it_fills_buffers_with_different_bytes() {
    let mut driver = Driver::new(Rng::new(RngLimit::default()));
    driver.start(0);
    let first = driver.submit(0, &[Buffer::In(32), Buffer::In(500)]);
    assert_eq!(driver.answer(0), (first, 532));
    let second = driver.submit(0, &[Buffer::In(532)]);
    assert_eq!(driver.answer(0), (second, 532));
    assert_ne!(driver.written(0, first), driver.written(0, second));
}

#[test]
fn an_answer_is_no_longer_than_the_burst_and_later_ones_wait() {
    let mut driver = Driver::new(Rng::new(RngLimit {
        per_second: 1000,
        burst: 100,
    }));
    driver.start(0);
    let begun = Instant::now();
    driver.submit(0, &[Buffer::In(4096)]);
    assert_eq!(driver.answer(0).1, 100);
    let mut got = 0;
    while got < 100 {
        driver.submit(0, &[Buffer::In(4096)]);
        got += driver.answer(0).1;
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(80),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn the_budget_grows_with_time_up_to_the_burst() {
    let mut budget = Budget::new(RngLimit {
        per_second: 1000,
        burst: 50,
    });
    let start = budget.counted;
    assert_eq!(budget.available(start), 50);
    budget.spend(50);
    assert_eq!(budget.available(start), 0);
    assert_eq!(budget.wait(), Duration::from_micros(50_001));
    assert_eq!(budget.available(start + Duration::from_millis(10)), 10);
    assert_eq!(budget.available(start + Duration::from_secs(1000)), 50);
    assert_eq!(budget.available(start), 50, "time that runs backwards");
    let none = Budget::new(RngLimit {
        per_second: 0,
        burst: 0,
    });
    assert_eq!(none.left, 1_000_000);
}

#[test]
fn requests_without_room_get_empty_answers() {
    let mut driver = Driver::new(Rng::new(RngLimit::default()));
    driver.start(0);
    let head = driver.submit(0, &[Buffer::Out(b"for me?")]);
    assert_eq!(driver.answer(0), (head, 0));
}

#[test]
fn its_state_is_the_transport_s() {
    let mut driver = Driver::new(Rng::new(RngLimit::default()));
    driver.start(0);
    driver.function.quiesce();
    let saved = driver.function.save();
    let mut after = Driver::with_memory(Rng::new(RngLimit::default()), driver.memory.clone());
    after.function.restore(&saved).unwrap();
    assert_eq!(after.function.save(), saved);
}
