//! What is gone through in frames, and when.

use super::*;
use crate::usb::uhci::schedule::Look;

#[test]
fn queues_have_their_turns_by_breadth_or_by_depth() {
    let mut bench = Bench::stick();
    bench.put(QUEUE, &[OTHER_QUEUE as u32 | TO_QUEUE]);
    bench.put(OTHER_QUEUE, &[END, END]);
    for (flags, after) in [(0, [0, 0x80, 0x80]), (DEPTH, [0, 0, 0])] {
        bench.block(512, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0]);
        let to = To {
            endpoint: 1,
            ..STICK
        };
        let all: Vec<u64> = (0..3)
            .map(|it| bench.transfer(it, to, IN, 64, DATA))
            .collect();
        bench.enqueue(QUEUE, &all, flags);
        let other = bench.transfer(5, STICK, SETUP, 8, SETUPS);
        bench.enqueue(OTHER_QUEUE, &[other], 0);
        bench.frames(1);
        let ended: Vec<u32> = all.iter().map(|&at| bench.ended(at).0).collect();
        assert_eq!(ended, after);
        assert_eq!(bench.ended(other).0, 0);
        bench.frames(9);
        // The rest of it, and its account.
        bench.bulk(IN, 1, 512);
    }
}

#[test]
fn a_ring_of_queues_is_gone_round_as_long_as_something_moves() {
    let mut bench = Bench::stick();
    bench.put(QUEUE, &[OTHER_QUEUE as u32 | TO_QUEUE]);
    bench.put(OTHER_QUEUE, &[QUEUE as u32 | TO_QUEUE, END]);
    bench.block(4096, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, 8, 0]);
    let to = To {
        endpoint: 1,
        ..STICK
    };
    let all: Vec<u64> = (0..64)
        .map(|it| bench.transfer(it, to, IN, 64, DATA))
        .collect();
    // One at a time.
    bench.enqueue(QUEUE, &all, 0);
    bench.frames(1);
    assert!(all.iter().all(|&at| bench.ended(at) == (0, 64)));
    // A queue that leads to itself, one in a queue, and transfers in a ring: all of them end.
    bench.put(QUEUE, &[QUEUE as u32 | TO_QUEUE, QUEUE as u32 | TO_QUEUE]);
    bench.frames(1);
    bench.put(QUEUE + 4, &[END]);
    bench.put(LIST, &[TRANSFERS as u32]);
    bench.put(TRANSFERS, &[TRANSFERS as u32 + 0x20, 0]);
    bench.put(TRANSFERS + 0x20, &[TRANSFERS as u32 + 0x20, 0]);
    let begun = std::time::Instant::now();
    bench.frames(3);
    assert!(begun.elapsed().as_secs() < 2);
    assert_eq!(bench.read(STATUS) & 0x20, 0);
}

#[test]
fn transfers_without_a_queue_are_gone_through() {
    let mut bench = Bench::stick();
    let at = bench.transfer(0, STICK, SETUP, 8, SETUPS);
    // Of the next frame.
    let next = bench.read(NUMBER) + 1;
    bench.put(LIST + 4 * next, &[at as u32]);
    bench.put(at, &[QUEUE as u32 | TO_QUEUE]);
    bench.frames(1);
    assert_eq!(bench.ended(at), (0, 8));
    // What nobody acknowledges is done though nobody is there.
    let nobody = To {
        address: 99,
        ..STICK
    };
    let lost = bench.transfer(0, nobody, IN, 64, DATA);
    bench.put(lost + 4, &[ACTIVE | 1 << 25]);
    bench.put(LIST + 4 * next + 4, &[lost as u32]);
    bench.frames(1);
    assert_eq!(bench.ended(lost), (0x04, 0));
}

#[test]
fn memory_that_is_not_there_stops_it() {
    for (list, token, buffer, status) in [
        (RAM, 0, DATA, 0x28),
        (LIST, 0, RAM, 0x28),
        // A packet of a kind that there is not, and one that is too long.
        (LIST, 0x55, DATA, 0x30),
        (LIST, 0x500 << 21 | IN, DATA, 0x30),
    ] {
        let mut bench = Bench::stick();
        bench.write(STATUS, 2, 0x1f);
        bench.write(INTERRUPTS, 2, 0);
        let at = bench.transfer(0, STICK, SETUP, 8, buffer);
        if token != 0 {
            bench.put(at + 8, &[token]);
        }
        bench.enqueue(QUEUE, &[at], 0);
        bench.write(BASE, 4, list);
        bench.frames(1);
        // Whether somebody wants to know or not.
        assert_eq!((bench.read(STATUS), bench.line.high()), (status, true));
        assert_eq!(bench.read(COMMAND) & 1, 0);
    }
}

#[test]
fn a_controller_at_rest_looks_seldom_and_forgets_no_frame() {
    let mut bench = Bench::stick();
    let alarm = |bench: &Bench| bench.timer.deadline().unwrap() - bench.clock.now();
    let look = |bench: &mut Bench, frames: u64| {
        bench.timer.disarm();
        bench.frames(frames);
    };
    look(&mut bench, 1);
    assert_eq!(alarm(&bench), FRAME);
    for (after, frames) in [(32, 8), (1000, 32)] {
        for _ in 0..after {
            look(&mut bench, 1);
        }
        // It is not rung for.
        bench.uhci.rested = after;
        look(&mut bench, 32);
        assert_eq!(alarm(&bench), frames * FRAME);
        // Work of one of the frames that go by.
        let at = bench.transfer(0, STICK, SETUP, 8, SETUPS);
        let due = (bench.read(NUMBER) + 3) & 0x3ff;
        bench.put(LIST + 4 * due, &[at as u32]);
        look(&mut bench, frames);
        assert_eq!(bench.ended(at), (0, 8));
        // More may follow.
        assert_eq!(alarm(&bench), FRAME);
        bench.put(LIST + 4 * due, &[QUEUE as u32 | TO_QUEUE]);
    }
    // What the guest writes, or somebody who rings, has it look soon.
    for rung in [false, true] {
        bench.uhci.rested = 5000;
        look(&mut bench, 1);
        assert_eq!(alarm(&bench), 32 * FRAME);
        if rung {
            look(&mut bench, 1);
        } else {
            bench.timer.disarm();
            bench.write(STATUS, 2, 0x1f);
        }
        assert_eq!(alarm(&bench), FRAME, "{rung}");
    }
    // After a long time it goes on at once, with the number that is due.
    let before = bench.read(NUMBER);
    bench.frames(100_000);
    assert_eq!(bench.read(NUMBER), (before + 100_000) & 0x7ff);
}

#[test]
fn what_waits_leaves_no_trace_each_time_that_it_is_asked_for() {
    let mut bench = Bench::stick();
    let to = To {
        endpoint: 1,
        ..STICK
    };
    let at = bench.transfer(0, to, IN, 64, DATA);
    bench.enqueue(QUEUE, &[at], 0);
    bench.frames(1);
    assert_eq!(bench.ended(at).0, 0x88);
    assert_eq!(u64::from(bench.word(QUEUE + 4)), at);
    // What all frames have in common is asked once a look: were it asked in each, that would be an error each.
    let nobody = To {
        address: 99,
        ..STICK
    };
    let endless = bench.transfer(0, nobody, IN, 64, DATA);
    bench.put(endless + 4, &[ACTIVE]);
    bench.enqueue(QUEUE, &[endless], 0);
    let mut look = Look::default();
    assert!(!bench.uhci.run_frame(&mut look));
    bench.put(endless + 4, &[ACTIVE]);
    assert!(!bench.uhci.run_frame(&mut look));
    assert_eq!(bench.ended(endless).0, 0x80);
    assert!(!bench.uhci.run_frame(&mut Look::default()));
    assert_eq!(bench.ended(endless).0, 0x84);
}

#[test]
fn a_rate_has_transfers_wait() {
    let mut bench = Bench::stick();
    bench.block(1024, true, &[0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0]);
    bench.gate.set(RateLimit {
        bytes: NonZeroU64::new(1),
        operations: None,
    });
    bench.gate.spend(1 << 20);
    let ended = bench.bulk(IN, 1, 1024);
    assert!(ended.iter().all(|it| it.0 & 0x80 != 0), "{ended:?}");
    bench.gate.set(RateLimit::default());
    bench.frames(1);
    assert_eq!(bench.data::<7>(), *b"a stick");
}
