use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::ThreadClock;

/// It goes on while its thread works, seen from another, and stands still while that waits.
#[test]
fn it_is_the_threads_own() {
    let (tell, told) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let worker = thread::spawn(move || {
        let clock = ThreadClock::start();
        let wanted = Duration::from_millis(20);
        while clock.elapsed().expect("a kernel that tells") < wanted {
            black_box((0..100_000u64).sum::<u64>());
        }
        tell.send(clock).expect("a listener");
        may_go_on.recv().expect("a word");
    });
    let clock = told.recv().expect("a clock");
    let mut seen = Duration::ZERO;
    // Until it waits, which is soon.
    loop {
        let now = clock.elapsed().expect("a thread that lives");
        if now == seen {
            break;
        }
        seen = now;
        thread::yield_now();
    }
    assert!(seen >= Duration::from_millis(20));
    go_on.send(()).expect("a worker");
    worker.join().expect("no failure");
}
