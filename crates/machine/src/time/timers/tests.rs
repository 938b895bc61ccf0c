use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use devices::{Clock, Timer};

use super::TimerQueue;
use crate::time::MachineClock;

const SOON: u64 = 5_000_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn timers_expire_in_order_and_not_early() {
    let clock = Arc::new(MachineClock::default());
    clock.resume();
    let queue = TimerQueue::start(Arc::clone(&clock), "timers").expect("a thread");
    let (sender, receiver) = channel();
    let timers: Vec<_> = (0..2u64)
        .map(|number| {
            let (timer, sender) = (queue.timer(), sender.clone());
            let report = move |now| sender.send((number, now)).expect("a listener");
            queue.connect(&timer, Arc::new(report));
            timer
        })
        .collect();
    let start = clock.now();
    timers[0].arm(start + 2 * SOON);
    timers[1].arm(start + SOON);
    assert_eq!(receiver.recv_timeout(PATIENCE).expect("first").0, 1);
    let (number, now) = receiver.recv_timeout(PATIENCE).expect("second");
    assert_eq!(number, 0);
    assert!(now >= start + 2 * SOON);
}

#[test]
fn a_paused_clock_expires_nothing_and_a_disarmed_timer_stays_silent() {
    let clock = Arc::new(MachineClock::default());
    let queue = TimerQueue::start(Arc::clone(&clock), "timers").expect("a thread");
    let (sender, receiver) = channel();
    let (kept, dropped) = (queue.timer(), queue.timer());
    let report = sender.clone();
    queue.connect(
        &kept,
        Arc::new(move |_| report.send("kept").expect("a listener")),
    );
    queue.connect(
        &dropped,
        Arc::new(move |_| sender.send("dropped").expect("a listener")),
    );
    kept.arm(0);
    dropped.arm(0);
    dropped.disarm();
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
    clock.resume();
    queue.clock_changed();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok("kept"));
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
}

#[test]
fn rearming_for_ever_keeps_one_entry() {
    let queue = TimerQueue::start(Arc::default(), "timers").expect("a thread");
    let timer = queue.timer();
    for deadline in 0..10_000 {
        timer.arm(deadline + 1_000_000);
    }
    assert_eq!(crate::sync::lock(&queue.inner.state).armed.len(), 1);
}

#[test]
fn an_earlier_alarm_stays_until_it_has_come() {
    let clock = Arc::new(MachineClock::default());
    let queue = TimerQueue::start(Arc::clone(&clock), "timers").expect("a thread");
    let timer = queue.timer();
    let (sender, receiver) = channel();
    queue.connect(
        &timer,
        Arc::new(move |_| sender.send(()).expect("a listener")),
    );
    timer.arm_by(u64::MAX);
    timer.arm_by(1);
    timer.arm_by(u64::MAX);
    clock.resume();
    queue.clock_changed();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
    timer.arm_by(2);
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn a_clock_that_stops_and_goes_on_all_the_time_expires_what_is_due() {
    let clock = Arc::new(MachineClock::default());
    let queue = TimerQueue::start(Arc::clone(&clock), "timers").expect("a thread");
    let timer = queue.timer();
    let (sender, receiver) = channel();
    queue.connect(
        &timer,
        Arc::new(move |_| sender.send(()).expect("a listener")),
    );
    for _ in 0..2000 {
        clock.pause();
        queue.clock_changed();
        timer.arm(0);
        clock.resume();
        queue.clock_changed();
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
    }
}
