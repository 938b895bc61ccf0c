use std::sync::Arc;

use super::{AcpiPm, AcpiPmParts, GPE0, PM_TIMER, PM1_CONTROL, TimerWidth};
use crate::Device;
use crate::testing::{FakeClock, FakeLine, FakeLines, FakeTimer};

struct Bench {
    device: AcpiPm,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    sci: Arc<FakeLine>,
    lines: Arc<FakeLines>,
}

fn bench(width: TimerWidth) -> Bench {
    let (clock, timer) = (FakeClock::new(), FakeTimer::new());
    let (sci, lines) = (FakeLine::new(), FakeLines::new());
    let parts = AcpiPmParts {
        clock: clock.clone(),
        timer: timer.clone(),
        sci: sci.clone(),
        lines: lines.clone(),
    };
    Bench {
        device: AcpiPm::new(width, parts),
        clock,
        timer,
        sci,
        lines,
    }
}

#[test]
fn the_power_button_interrupts_until_its_status_is_cleared() {
    let mut bench = bench(TimerWidth::Bits32);
    bench.device.power_button();
    assert!(!bench.sci.high());
    bench.device.write(2, 2, 0x0100);
    assert!(bench.sci.high());
    assert_eq!(bench.device.read(0, 4), 0x0100_0100);
    bench.device.write(0, 2, 0x0001);
    assert!(bench.sci.high());
    bench.device.write(1, 1, 0x01);
    assert!(!bench.sci.high());
}

#[test]
fn s5_powers_off_and_other_sleeps_do_nothing() {
    let mut bench = bench(TimerWidth::Bits32);
    assert_eq!(bench.device.read(PM1_CONTROL, 2), 1);
    bench.device.write(PM1_CONTROL, 2, 3 << 10 | 1 << 13);
    assert_eq!(bench.lines.power_offs(), 0);
    bench.device.write(PM1_CONTROL, 2, 5 << 10);
    assert_eq!(bench.lines.power_offs(), 0);
    bench.device.write(PM1_CONTROL, 2, 5 << 10 | 1 << 13);
    assert_eq!(bench.lines.power_offs(), 1);
    assert_eq!(bench.device.read(PM1_CONTROL, 2), 5 << 10 | 1);
}

#[test]
fn s3_sleeps_until_an_enabled_event() {
    let mut bench = bench(TimerWidth::Bits32);
    bench.device.write(PM1_CONTROL, 2, 1 << 10 | 1 << 13);
    assert_eq!(bench.lines.sleeps(), (1, 0));
    assert_eq!(bench.device.read(PM1_CONTROL, 2), 1 << 10 | 1);
    bench.device.rtc_alarm();
    assert_eq!(bench.lines.sleeps(), (1, 0), "nobody wants to know");
    bench.device.write(2, 2, 0x0400);
    assert_eq!(bench.lines.sleeps().1, 1);
    bench.device.woken();
    assert_eq!(bench.device.read(0, 2), 0x8400);
    bench.device.rtc_alarm();
    assert_eq!(bench.lines.sleeps().1, 1, "it is awake");
}

#[test]
fn who_is_restored_asleep_sleeps_on() {
    let mut before = bench(TimerWidth::Bits32);
    before.device.write(2, 2, 0x0100);
    before.device.write(PM1_CONTROL, 2, 1 << 10 | 1 << 13);
    let mut after = bench(TimerWidth::Bits32);
    after.device.restore(&before.device.save()).unwrap();
    assert_eq!(after.lines.sleeps(), (1, 0));
    after.device.power_button();
    assert_eq!(after.lines.sleeps(), (1, 1));
}

#[test]
fn the_timer_counts_and_wraps_at_its_width() {
    for (width, top) in [
        (TimerWidth::Bits24, 1u64 << 24),
        (TimerWidth::Bits32, 1 << 32),
    ] {
        let mut bench = bench(width);
        bench.clock.set(1_000_000_000);
        assert_eq!(bench.device.read(PM_TIMER, 4), 3_579_545);
        assert_eq!(bench.device.read(PM_TIMER + 1, 1), 3_579_545 >> 8 & 0xff);
        bench
            .clock
            .set(crate::timers::time_of_tick(top + 5, super::TIMER_FREQUENCY));
        assert_eq!(bench.device.read(PM_TIMER, 4), 5);
    }
}

#[test]
fn the_timer_tells_when_its_highest_bit_changes() {
    let mut bench = bench(TimerWidth::Bits24);
    bench.device.write(2, 2, 1);
    let change = crate::timers::time_of_tick(1 << 23, super::TIMER_FREQUENCY);
    assert_eq!(bench.timer.deadline(), Some(change));
    bench.clock.set(change - 1);
    assert_eq!(bench.device.read(0, 2), 0);
    bench.clock.set(change);
    bench.device.expire(change);
    assert!(bench.sci.high());
    assert_eq!(bench.timer.deadline(), None, "told already");
    bench.device.write(0, 2, 1);
    assert!(!bench.sci.high());
    assert!(bench.timer.deadline() > Some(2 * change - 300));
}

#[test]
fn general_purpose_events() {
    let mut bench = bench(TimerWidth::Bits32);
    bench.device.raise_gpe(9);
    bench.device.raise_gpe(16);
    bench.device.raise_gpe(255);
    assert_eq!(bench.device.read(GPE0, 4), 0x0200);
    bench.device.write(GPE0 + 2, 2, 0xffff);
    assert!(bench.sci.high());
    bench.device.write(GPE0, 2, 0x0200);
    assert!(!bench.sci.high());
    assert_eq!(bench.device.read(GPE0, 4), 0xffff_0000);
}

#[test]
fn any_guest_write_is_survived() {
    let mut bench = bench(TimerWidth::Bits24);
    for value in [0, 0x5555_5555_5555_5555, u64::MAX] {
        for offset in 0..0x50 {
            for size in [1, 2, 4, 8] {
                bench.device.write(offset, size, value);
                bench.device.read(offset, size);
                bench.clock.advance(1 << 33);
            }
        }
    }
    bench.clock.set(u64::MAX);
    bench.device.expire(0);
    assert_eq!(bench.device.read(u64::MAX, 8) & 0xff, 0xff);
}
