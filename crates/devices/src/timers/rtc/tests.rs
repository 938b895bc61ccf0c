use std::sync::Arc;

use super::calendar::DateTime;
use super::{Rtc, RtcMemory, SECOND};
use crate::testing::{FakeClock, FakeLine, FakeTimer};
use crate::{Device, Timer};

/// 2026-11-05 13:37:58 UTC, a Thursday.
const MOMENT: u64 = 1_793_885_878;

struct Bench {
    rtc: Rtc,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    line: Arc<FakeLine>,
}

fn bench() -> Bench {
    let (clock, timer, line) = (
        FakeClock::at_wall(MOMENT),
        FakeTimer::new(),
        FakeLine::new(),
    );
    let memory = RtcMemory {
        below_4g: 3 << 30,
        above_4g: 5 << 30,
    };
    Bench {
        rtc: Rtc::new(memory, clock.clone(), timer.clone(), line.clone()),
        clock,
        timer,
        line,
    }
}

impl Bench {
    fn read(&mut self, register: u64) -> u64 {
        self.rtc.write(0, 1, register);
        self.rtc.read(1, 1)
    }

    fn write(&mut self, register: u64, value: u64) {
        self.rtc.write(0, 1, register);
        self.rtc.write(1, 1, value);
    }

    fn time(&mut self) -> [u64; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|register| self.read(register))
    }

    fn fire(&mut self) -> u64 {
        let deadline = self.timer.deadline().unwrap();
        self.clock.set(deadline);
        self.timer.disarm();
        self.rtc.expire(deadline);
        deadline
    }
}

#[test]
fn shows_the_time_in_every_format() {
    let mut bench = bench();
    assert_eq!(bench.time(), [0x20, 0x26, 0x11, 0x05, 5, 0x13, 0x37, 0x58]);
    bench.write(0x0b, 0x06);
    assert_eq!(bench.time(), [20, 26, 11, 5, 5, 13, 37, 58]);
    bench.write(0x0b, 0x00);
    assert_eq!(bench.read(4), 0x81);
    bench.clock.advance(11 * 3600 * SECOND);
    assert_eq!(bench.read(4), 0x12, "midnight");
}

#[test]
fn runs_on_from_the_time_that_the_guest_sets() {
    let mut bench = bench();
    bench.write(0x0b, 0x82);
    for (register, value) in [(0x32, 0x20), (9, 0x24), (8, 0x02), (7, 0x28), (4, 0x23)] {
        bench.write(register, value);
    }
    for (register, value) in [(2, 0x59), (0, 0x59)] {
        bench.write(register, value);
    }
    bench.clock.advance(100 * SECOND);
    assert_eq!(bench.read(0), 0x59, "held while SET");
    bench.write(0x0b, 0x02);
    bench.clock.advance(SECOND);
    assert_eq!(bench.time(), [0x20, 0x24, 0x02, 0x29, 5, 0, 0, 0]);
    bench.write(8, 0x03);
    assert_eq!(bench.read(8), 0x03, "without SET as well");
}

#[test]
fn the_calendar_goes_both_ways() {
    for seconds in [0, 951_782_399, 951_782_400, 4_107_542_400, 253_402_300_799] {
        assert_eq!(DateTime::from_seconds(seconds).to_seconds(), seconds);
    }
    for day in 0..150_000u64 {
        let seconds = day * 86_400 + day % 86_400;
        let shown = DateTime::from_seconds(seconds).to_registers(0x02);
        let [second, minute, hour, _, date, month, year, century] = shown.map(|(_, value)| value);
        let registers = [second, minute, hour, date, month, year, century];
        assert_eq!(DateTime::from_registers(registers, 2).to_seconds(), seconds);
    }
}

#[test]
fn update_in_progress_is_told_before_the_second_changes() {
    let mut bench = bench();
    assert_eq!(bench.read(0x0a), 0x26);
    bench.clock.advance(SECOND - 200_000);
    assert_eq!(bench.read(0x0a), 0xa6);
    bench.clock.advance(200_000);
    assert_eq!(bench.read(0x0a), 0x26);
}

#[test]
fn the_alarm_goes_off_once_a_day_or_by_its_wild_cards() {
    let mut bench = bench();
    for (register, value) in [(1, 0x10), (3, 0x38), (5, 0x13)] {
        bench.write(register, value);
    }
    bench.write(0x0b, 0x22);
    assert_eq!(bench.fire(), 12 * SECOND);
    assert!(bench.line.high());
    assert_eq!(bench.timer.deadline(), None);
    assert_eq!(
        bench.read(0x0c),
        0xf0,
        "beat and update have flags but no interrupt"
    );
    assert!(!bench.line.high());
    assert_eq!(bench.fire(), (12 + 86_400) * SECOND);
    bench.read(0x0c);
    bench.write(5, 0xff);
    bench.write(3, 0xc0);
    assert_eq!(bench.fire(), (12 + 86_400 + 60) * SECOND);
    bench.read(0x0c);
    bench.write(1, 0x99);
    assert_eq!(bench.timer.deadline(), None, "there is no such second");
}

#[test]
fn periodic_interrupts_keep_their_beat() {
    let mut bench = bench();
    bench.write(0x0b, 0x42);
    for beat in 1..=1024u64 {
        assert_eq!(bench.fire(), (beat * SECOND).div_ceil(1024));
        assert_eq!(bench.read(0x0c) & 0xc0, 0xc0);
    }
    assert_eq!(crate::Clock::now(&*bench.clock), SECOND);
    bench.clock.advance(SECOND);
    bench.rtc.expire(0);
    assert_eq!(bench.line.edges(), 1025, "what was missed is one interrupt");
}

#[test]
fn update_interrupts_come_with_every_second() {
    let mut bench = bench();
    bench.clock.advance(SECOND / 4);
    bench.write(0x0b, 0x12);
    assert_eq!(bench.fire(), SECOND);
    assert_eq!(
        bench.read(0x0c),
        0x90 | 0x40,
        "and the beat's flag, which has no interrupt"
    );
    assert_eq!(bench.fire(), 2 * SECOND);
}

#[test]
fn a_held_divider_stops_the_clock_and_restarts_half_a_second_before_the_update() {
    let mut bench = bench();
    bench.write(0x0a, 0x76);
    bench.clock.advance(10 * SECOND);
    assert_eq!(bench.read(0), 0x58);
    bench.write(0x0b, 0x12);
    bench.write(0x0a, 0x26);
    assert_eq!(bench.timer.deadline(), Some(10 * SECOND + SECOND / 2));
}

#[test]
fn cmos_memory_sizes_and_plain_bytes() {
    let mut bench = bench();
    assert_eq!((bench.read(0x15), bench.read(0x16)), (0x80, 0x02));
    assert_eq!((bench.read(0x17), bench.read(0x18)), (0x00, 0xfc));
    assert_eq!((bench.read(0x34), bench.read(0x35)), (0x00, 0xbf));
    assert_eq!((bench.read(0x5b), bench.read(0x5c)), (0x00, 0x40));
    bench.write(0x8f, 0x0a);
    bench.write(0x0d, 0x00);
    bench.rtc.reset();
    assert_eq!(bench.rtc.shutdown_status(), 0x0a);
    assert_eq!(bench.read(0x0d), 0x80);
    assert_eq!(bench.rtc.read(0, 1), 0xff);
}

#[test]
fn any_guest_write_is_survived() {
    let mut bench = bench();
    for value in 0..=255 {
        for register in 0..=255 {
            bench.write(register, value);
            bench.read(register);
            bench.clock.advance(register * 7_777_777);
            bench.rtc.expire(0);
        }
        bench.rtc.read(0, 8);
    }
}
