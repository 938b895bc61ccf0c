use super::*;

fn round(sent: u64, millis: u64, dirtied: u64) -> Round {
    Round {
        sent: sent << 20,
        took: Duration::from_millis(millis),
        dirtied: dirtied << 20,
    }
}

#[test]
fn it_switches_when_what_is_left_fits_into_the_pause() {
    let mut it = Convergence::new(Duration::from_millis(100), Otherwise::SlowDown);
    // 1000 MiB a second: 100 MiB fit.
    assert_eq!(
        it.after(round(1000, 1000, 200)),
        Verdict::Again { slowed: 0 }
    );
    assert_eq!(it.after(round(200, 200, 90)), Verdict::Switch);
}

#[test]
fn a_guest_that_writes_as_fast_as_it_is_sent_is_slowed_down_more_and_more() {
    let mut it = Convergence::new(Duration::from_millis(100), Otherwise::SlowDown);
    let slowed: Vec<u8> = (0..8)
        .map(|_| match it.after(round(500, 1000, 500)) {
            Verdict::Again { slowed } => slowed,
            Verdict::Switch | Verdict::PostCopy => panic!("it does not fit"),
        })
        .collect();
    assert_eq!(slowed, [0, 30, 50, 70, 90, 99, 99, 99]);
    assert_eq!(it.rounds(), 8);
    let mut it = Convergence::new(Duration::from_millis(100), Otherwise::Nothing);
    for _ in 0..8 {
        assert_eq!(
            it.after(round(500, 1000, 500)),
            Verdict::Again { slowed: 0 }
        );
    }
}

#[test]
fn what_gets_less_by_itself_is_waited_for() {
    let mut it = Convergence::new(Duration::from_millis(1), Otherwise::SlowDown);
    for dirtied in [512, 256, 128, 64, 32] {
        assert_eq!(
            it.after(round(1000, 1000, dirtied)),
            Verdict::Again { slowed: 0 }
        );
    }
    assert_eq!(it.after(round(1, 1000, 1)), Verdict::Switch);
}

#[test]
fn a_guest_that_may_begin_before_all_has_come_does_when_waiting_is_of_no_use() {
    let mut it = Convergence::new(Duration::from_millis(1), Otherwise::PostCopy);
    // All of it goes once before that; and what gets less is waited for.
    for dirtied in [512, 256] {
        assert_eq!(
            it.after(round(1000, 1000, dirtied)),
            Verdict::Again { slowed: 0 }
        );
    }
    assert_eq!(it.after(round(256, 256, 250)), Verdict::PostCopy);
    let mut it = Convergence::new(Duration::from_millis(1), Otherwise::PostCopy);
    assert_eq!(it.after(round(1000, 1000, 0)), Verdict::Switch);
}
