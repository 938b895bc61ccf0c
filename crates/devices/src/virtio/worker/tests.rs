use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::testing::{FakeLine, FakeMsi};
use crate::virtio::interrupts::Interrupts;
use crate::virtio::testing::{ram, wait_until};
use crate::virtio::worker::{HOLD_INACTIVE, HOLD_NO_MASTER, HOLD_PAUSED, Worker};
use crate::virtio::{Backend, Doorbell, Next, Nonsense, Ring, WorkerPlan};

/// Counts its turns and answers as told.
#[derive(Debug)]
struct Counter {
    turns: Arc<AtomicU32>,
    answer: Result<Next, Nonsense>,
}

impl Backend for Counter {
    fn serve(&mut self, _queue: usize, _rings: &mut [Ring]) -> Result<Next, Nonsense> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.answer
    }
}

struct Setup {
    worker: Worker,
    turns: Arc<AtomicU32>,
    interrupts: Arc<Interrupts>,
}

impl Setup {
    fn new(answer: Result<Next, Nonsense>) -> Setup {
        Setup::with_events(answer, None)
    }

    fn with_events(answer: Result<Next, Nonsense>, events: Option<OwnedFd>) -> Setup {
        let turns = Arc::new(AtomicU32::new(0));
        let interrupts = Arc::new(Interrupts::new(1, FakeMsi::new(), FakeLine::new()));
        let ring = Ring::new(0, 16, ram(), Arc::clone(&interrupts));
        let backend = Box::new(Counter {
            turns: Arc::clone(&turns),
            answer,
        });
        let plan = WorkerPlan {
            queues: 1,
            backend,
            waker: Arc::new(Doorbell::new().unwrap()),
            events,
        };
        let mut worker = Worker::new(vec![ring], plan, Arc::clone(&interrupts)).unwrap();
        worker.start("test").unwrap();
        Setup {
            worker,
            turns,
            interrupts,
        }
    }

    fn released(answer: Result<Next, Nonsense>) -> Setup {
        let setup = Setup::new(answer);
        setup.worker.release(HOLD_NO_MASTER);
        setup.worker.release(HOLD_INACTIVE);
        setup
    }

    fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    fn is_quiet(&self) -> bool {
        let before = self.turns();
        std::thread::sleep(Duration::from_millis(20));
        self.turns() == before
    }
}

#[test]
fn it_serves_when_rung_and_not_before_all_holds_are_gone() {
    let setup = Setup::new(Ok(Next::Wait));
    setup.worker.bell(0).unwrap().ring();
    setup.worker.release(HOLD_NO_MASTER);
    assert!(setup.is_quiet());
    assert_eq!(setup.turns(), 0);
    setup.worker.release(HOLD_INACTIVE);
    wait_until(|| setup.turns() > 0);
    assert!(setup.is_quiet());
    let before = setup.turns();
    setup.worker.bell(0).unwrap().ring();
    wait_until(|| setup.turns() > before);
    assert!(setup.worker.bell(1).is_none());
}

#[test]
fn a_busy_worker_can_be_held_and_dropped() {
    let setup = Setup::released(Ok(Next::Again));
    wait_until(|| setup.turns() > 100);
    setup.worker.hold(HOLD_PAUSED);
    assert!(setup.is_quiet());
    let held_at = setup.turns();
    setup.worker.release(HOLD_PAUSED);
    wait_until(|| setup.turns() > held_at);
    drop(setup.worker);
    let ended_at = setup.turns.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(setup.turns.load(Ordering::Relaxed), ended_at);
}

#[test]
fn it_comes_back_by_itself_when_asked() {
    let setup = Setup::released(Ok(Next::After(Duration::from_millis(1))));
    wait_until(|| setup.turns() > 5);
}

#[test]
fn nonsense_ends_the_work_until_a_reset() {
    let setup = Setup::released(Err(Nonsense::Chain));
    wait_until(|| setup.interrupts.needs_reset());
    setup.worker.bell(0).unwrap().ring();
    assert!(setup.is_quiet());
    assert_eq!(setup.turns(), 1);
}

/// Its first queue is never empty; turns of the second are counted.
#[derive(Debug)]
struct Greedy(Arc<AtomicU32>);

impl Backend for Greedy {
    fn serve(&mut self, queue: usize, _rings: &mut [Ring]) -> Result<Next, Nonsense> {
        if queue == 0 {
            return Ok(Next::Again);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Next::Wait)
    }
}

#[test]
fn a_queue_that_is_never_empty_does_not_make_the_others_wait() {
    let turns = Arc::new(AtomicU32::new(0));
    let interrupts = Arc::new(Interrupts::new(2, FakeMsi::new(), FakeLine::new()));
    let ring = |index| Ring::new(index, 16, ram(), Arc::clone(&interrupts));
    let rings = vec![ring(0), ring(1)];
    let backend = Box::new(Greedy(Arc::clone(&turns)));
    let waker = Arc::new(Doorbell::new().unwrap());
    let plan = WorkerPlan {
        queues: rings.len(),
        backend,
        waker,
        events: None,
    };
    let mut worker = Worker::new(rings, plan, Arc::clone(&interrupts)).unwrap();
    worker.start("test").unwrap();
    worker.release(HOLD_NO_MASTER);
    worker.release(HOLD_INACTIVE);
    for turn in 1..20 {
        worker.bell(1).unwrap().ring();
        wait_until(|| turns.load(Ordering::Relaxed) >= turn);
    }
}

/// Events stay until the backend has seen to them, so a worker that may not serve must not look.
#[test]
fn events_wake_it_while_it_may_serve() {
    let event = Doorbell::new().unwrap();
    let events = event.as_fd().try_clone_to_owned().unwrap();
    let setup = Setup::with_events(Ok(Next::Wait), Some(events));
    setup.worker.release(HOLD_NO_MASTER);
    setup.worker.release(HOLD_INACTIVE);
    wait_until(|| setup.turns() > 0);
    assert!(setup.is_quiet());
    let before = setup.turns();
    event.ring();
    wait_until(|| setup.turns() > before + 1);
    setup.worker.hold(HOLD_PAUSED);
    assert!(setup.is_quiet());
    assert!(event.take());
    setup.worker.release(HOLD_PAUSED);
    wait_until(|| setup.is_quiet());
}
