//! States.

use super::*;

#[test]
fn a_saved_controller_goes_on_in_the_middle_of_a_transfer() {
    let mut bench = Bench::stick();
    bench.block(4608, false, &[0x2a, 0, 0, 0, 0, 9, 0, 0, 9, 0]);
    let written: Vec<u8> = (0..4608u32).map(|it| (it * 7 / 5) as u8).collect();
    bench.lay(DATA, &written);
    let out = To {
        endpoint: 2,
        ..STICK
    };
    let all: Vec<u64> = (0..72)
        .map(|it| bench.transfer(it, out, OUT, 64, DATA + 64 * it))
        .collect();
    // By breadth: one each frame.
    bench.enqueue(QUEUE, &all, 0);
    bench.frames(1);
    bench.frames(1);
    bench.uhci.quiesce();
    let number = bench.read(NUMBER);
    let saved = bench.uhci.save();
    assert_eq!(bench.ended(all[1]), (0, 64));
    assert_eq!(bench.ended(all[2]).0, 0x80);
    // Another clock, and another controller.
    let line = FakeLine::new();
    let (mut parts, clock, ..) = parts(&line);
    parts.memory = bench.memory.clone();
    let disks = vec![(Arc::clone(&bench.disk) as _, "abc".to_owned())];
    let mut other = Uhci::with_disks(disks, parts);
    assert_eq!(other.restore(&saved), Ok(()));
    clock.advance(77 * FRAME);
    other.expire();
    assert_eq!(bench.ended(all[2]).0, 0x80);
    other.resume();
    assert_eq!(other.bar_read(4, NUMBER, 2), number);
    bench.clock = clock;
    bench.uhci = other;
    for _ in 0..80 {
        bench.frames(1);
    }
    assert_eq!(bench.ended(all[71]), (0, 64));
    assert_eq!(bench.disk.bytes()[9 * 512..][..4608], written);
    // A request that has begun is ended, too.
    bench.lay(SETUPS, &GET_DEVICE);
    let begun = bench.transfer(0, STICK, SETUP, 8, SETUPS);
    bench.enqueue(QUEUE, &[begun], 0);
    bench.frames(1);
    let saved = bench.uhci.save();
    assert_eq!(bench.uhci.restore(&saved), Ok(()));
    bench.uhci.resume();
    assert_eq!(bench.bulk(IN, 0, 18), [(0, 18)]);
    assert_eq!(bench.data::<4>(), [18, 1, 0x10, 1]);
}

#[test]
fn a_state_that_no_driver_makes_is_refused() {
    let line = FakeLine::new();
    let (of_disks, ..) = parts(&line);
    let (of_hands, ..) = parts(&line);
    let saved = Uhci::with_disks(Vec::new(), of_disks).save();
    let (mut uhci, _) = Uhci::with_hands(of_hands);
    let before = uhci.save();
    assert!(uhci.restore(&saved).is_err());
    assert_eq!(uhci.save(), before);
}
