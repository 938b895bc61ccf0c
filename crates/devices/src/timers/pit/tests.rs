use std::sync::Arc;

use super::{FREQUENCY, Pit};
use crate::testing::{FakeClock, FakeLine, FakeTimer};
use crate::timers::time_of_tick;
use crate::{Device, Timer};

struct Bench {
    pit: Pit,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    line: Arc<FakeLine>,
}

fn bench() -> Bench {
    let (clock, timer, line) = (FakeClock::new(), FakeTimer::new(), FakeLine::new());
    Bench {
        pit: Pit::new(clock.clone(), timer.clone(), line.clone()),
        clock,
        timer,
        line,
    }
}

impl Bench {
    fn program(&mut self, word: u64, count: u16) {
        self.pit.write(3, 1, word);
        let channel = word >> 6;
        for byte in count.to_le_bytes() {
            self.pit.write(channel, 1, byte.into());
        }
    }

    fn at_tick(&self, tick: u64) {
        self.clock.set(time_of_tick(tick, FREQUENCY));
    }

    /// Lets the clock run to the timer's deadline and the timer go off.
    fn fire(&mut self) -> Option<u64> {
        let deadline = self.timer.deadline()?;
        self.clock.set(deadline);
        self.timer.disarm();
        self.pit.expire(deadline);
        Some(deadline)
    }

    fn count(&mut self, channel: u64) -> u16 {
        self.pit.write(3, 1, channel << 6);
        let low = self.pit.read(channel, 1);
        let high = self.pit.read(channel, 1);
        u16::try_from(high << 8 | low).unwrap()
    }
}

#[test]
fn mode_2_beats_without_drift() {
    let mut bench = bench();
    bench.program(0x34, 11_932);
    let mut last = 0;
    for _ in 0..1000 {
        last = bench.fire().unwrap();
    }
    assert_eq!(bench.line.edges(), 1001, "one when OUT first went high");
    assert_eq!(last, time_of_tick(1 + 1000 * 11_932, FREQUENCY));
}

#[test]
fn missed_beats_are_one_interrupt_and_keep_the_phase() {
    let mut bench = bench();
    bench.program(0x34, 1000);
    let before = bench.line.edges();
    bench.at_tick(10_501);
    bench.pit.expire(0);
    assert_eq!(bench.line.edges(), before + 1);
    assert_eq!(
        bench.timer.deadline(),
        Some(time_of_tick(11_001, FREQUENCY))
    );
    bench.pit.expire(0);
    assert_eq!(bench.line.edges(), before + 1, "an early alarm is no beat");
}

#[test]
fn the_fastest_beat_is_bounded() {
    let mut bench = bench();
    bench.program(0x34, 1);
    assert_eq!(bench.timer.deadline(), Some(20_000));
    bench.program(0x36, 2);
    bench.fire();
    assert!(bench.timer.deadline() >= Some(40_000));
}

#[test]
fn mode_0_rises_once_at_the_terminal_count() {
    let mut bench = bench();
    bench.program(0x30, 100);
    assert!(!bench.line.high());
    bench.at_tick(61);
    assert_eq!(bench.count(0), 40);
    bench.fire();
    assert!(bench.line.high());
    assert_eq!(bench.timer.deadline(), None);
    bench.at_tick(111);
    assert_eq!(bench.count(0), 0xfff6, "goes on below zero");
    bench.program(0x30, 50);
    assert!(!bench.line.high());
}

#[test]
fn mode_3_is_square_and_counts_by_twos() {
    let mut bench = bench();
    bench.program(0xb6, 10);
    bench.pit.write(0x10, 1, 1);
    let out = |bench: &mut Bench, tick| {
        bench.at_tick(tick);
        bench.pit.read(0x10, 1) & 0x20 != 0
    };
    let levels: Vec<bool> = (1..=11).map(|tick| out(&mut bench, tick)).collect();
    assert_eq!(levels, [vec![true; 5], vec![false; 5], vec![true]].concat());
    bench.at_tick(3);
    assert_eq!(bench.count(2), 6);
    bench.at_tick(8);
    assert_eq!(bench.count(2), 6);
}

#[test]
fn a_new_count_of_a_beat_waits_for_the_end_of_the_old_one() {
    let mut bench = bench();
    bench.program(0x34, 1000);
    bench.at_tick(500);
    bench.pit.write(0, 1, 0xd0);
    bench.pit.write(0, 1, 0x07);
    bench.pit.write(3, 1, 0xe2);
    assert_eq!(bench.pit.read(0, 1), 0xf4, "null count");
    assert_eq!(bench.fire(), Some(time_of_tick(1001, FREQUENCY)));
    assert_eq!(bench.fire(), Some(time_of_tick(3001, FREQUENCY)));
}

#[test]
fn channel_2_runs_while_its_gate_is_open() {
    let mut bench = bench();
    bench.program(0xb0, 100);
    bench.at_tick(500);
    assert_eq!(bench.pit.read(0x10, 1) & 0x20, 0);
    assert_eq!(bench.count(2), 100);
    bench.pit.write(0x10, 1, 1);
    bench.at_tick(540);
    bench.pit.write(0x10, 1, 0);
    bench.at_tick(1000);
    assert_eq!(bench.count(2), 60);
    bench.pit.write(0x10, 1, 1);
    bench.at_tick(1060);
    assert_eq!(bench.pit.read(0x10, 1) & 0x21, 0x21);
}

#[test]
fn modes_1_and_5_wait_for_the_gate() {
    for (word, at_end) in [(0xb2, 0x20), (0xba, 0)] {
        let mut bench = bench();
        bench.program(word, 10);
        bench.at_tick(50);
        assert_eq!(bench.pit.read(0x10, 1) & 0x20, 0x20);
        bench.pit.write(0x10, 1, 1);
        bench.at_tick(61);
        assert_eq!(bench.pit.read(0x10, 1) & 0x20, at_end, "mode {word:#x}");
        bench.at_tick(62);
        assert_eq!(bench.pit.read(0x10, 1) & 0x20, 0x20);
    }
}

#[test]
fn bcd_counts_in_tens() {
    let mut bench = bench();
    bench.program(0x71, 0x0100);
    bench.at_tick(2);
    assert_eq!(bench.count(1), 0x0099);
    bench.at_tick(102);
    assert_eq!(bench.count(1), 0x9999);
    bench.program(0x75, 0xffff);
    bench.count(1);
}

#[test]
fn read_back_latches_status_and_count() {
    let mut bench = bench();
    bench.program(0x34, 0x1234);
    bench.at_tick(5);
    bench.pit.write(3, 1, 0xc2);
    bench.at_tick(50);
    assert_eq!(bench.pit.read(0, 1), 0xb4);
    assert_eq!(bench.pit.read(0, 1), 0x30);
    assert_eq!(bench.pit.read(0, 1), 0x12);
    assert_eq!(bench.pit.read(0, 1), 0x03, "no longer latched");
}

#[test]
fn the_refresh_bit_toggles() {
    let mut bench = bench();
    let first = bench.pit.read(0x10, 1) & 0x10;
    bench.clock.advance(15_085);
    assert_ne!(bench.pit.read(0x10, 1) & 0x10, first);
}

#[test]
fn any_guest_write_is_survived() {
    let mut bench = bench();
    for value in 0..=255u64 {
        for offset in [3, 0, 1, 2, 0x10, 3, 0x77] {
            bench.clock.advance(1_234_567 * value);
            bench.pit.write(offset, 1, value);
            bench.pit.read(offset, 8);
            bench.pit.expire(0);
        }
    }
    bench.clock.set(u64::MAX);
    bench.pit.expire(0);
    bench.pit.read(0, 1);
}
