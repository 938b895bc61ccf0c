//! By the timer and port 61h, as guests have it.

use std::f64::consts::TAU;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use crate::sound::{RATE, Wave};
use crate::testing::{FakeClock, FakeLine, FakeTimer};
use crate::timers::pit::{FREQUENCY, Pit};
use crate::{Clock, Device};

const MILLISECOND: u64 = 1_000_000;
const HEADER: usize = 44;
const PORT_61: u64 = 0x10;

struct Bench {
    pit: Pit,
    clock: Arc<FakeClock>,
    alarm: Arc<FakeTimer>,
    file: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let file = std::env::temp_dir().join(format!("speaker-{name}-{}", std::process::id()));
        let wave = Wave::begin(File::create(&file).unwrap()).unwrap();
        let (clock, alarm) = (FakeClock::new(), FakeTimer::new());
        let pit = Pit::new(clock.clone(), FakeTimer::new(), FakeLine::new());
        Bench {
            pit: pit.with_speaker(wave, alarm.clone()),
            clock,
            alarm,
            file,
        }
    }

    fn program(&mut self, control: u64, count: u16) {
        self.pit.write(3, 1, control);
        for byte in count.to_le_bytes() {
            self.pit.write(2, 1, byte.into());
        }
    }

    /// A tone of the square wave mode.
    fn pitch(&mut self, hertz: u64) {
        self.program(0xb6, u16::try_from(FREQUENCY / hertz).unwrap());
    }

    /// Time goes by, and the alarm goes off when it is to.
    fn pass(&mut self, time: u64) {
        let end = self.clock.now() + time;
        while let Some(deadline) = self.alarm.deadline().filter(|&it| it <= end) {
            self.clock.set(deadline);
            self.pit.listen();
        }
        self.clock.set(end);
    }

    fn left(&self) -> Vec<f64> {
        let bytes = fs::read(&self.file).unwrap();
        let frames = bytes[HEADER..].chunks_exact(4);
        frames
            .map(|it| i16::from_le_bytes([it[0], it[1]]).into())
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// The amplitude of this pitch in them.
fn strength(samples: &[f64], hertz: f64) -> f64 {
    let angle = TAU * hertz / f64::from(RATE);
    let mut parts = [0.0, 0.0];
    let mut at = 0.0;
    for sample in samples {
        parts[0] += sample * (angle * at).sin();
        parts[1] += sample * (angle * at).cos();
        at += 1.0;
    }
    2.0 * parts[0].hypot(parts[1]) / at
}

#[test]
fn a_square_wave_is_heard_at_its_pitch_for_as_long_as_it_is() {
    let mut bench = Bench::new("pitch");
    bench.pitch(440);
    bench.pass(500 * MILLISECOND);
    assert!(bench.left().is_empty(), "nobody has let it through");
    bench.pit.write(PORT_61, 1, 3);
    bench.pass(500 * MILLISECOND);
    bench.pit.write(PORT_61, 1, 0);
    bench.pass(500 * MILLISECOND);
    let left = bench.left();
    // Behind the tone the membrane goes back to where it was.
    assert!(
        (24_000 + 4_700..24_000 + 4_900).contains(&left.len()),
        "{}",
        left.len()
    );
    assert_eq!(bench.alarm.deadline(), None);
    let tone = &left[2400..24_000];
    let own = strength(tone, 440.0);
    // Of a square wave, by its series.
    assert!((9_500.0..10_700.0).contains(&own), "{own}");
    let third = strength(tone, 1320.0);
    assert!((0.3..0.37).contains(&(third / own)), "{third}");
    for other in [220.0, 400.0, 480.0, 880.0, 1000.0] {
        assert!(strength(tone, other) < own / 20.0, "{other}");
    }
}

#[test]
fn a_tone_that_changes_is_heard_without_a_gap() {
    let mut bench = Bench::new("change");
    bench.pit.write(PORT_61, 1, 3);
    bench.pitch(440);
    bench.pass(250 * MILLISECOND);
    bench.pit.write(3, 1, 0x80);
    let [low, high] = u16::try_from(FREQUENCY / 1000).unwrap().to_le_bytes();
    bench.pit.write(2, 1, low.into());
    bench.pit.write(2, 1, high.into());
    bench.pass(250 * MILLISECOND);
    let left = bench.left();
    assert!(strength(&left[2_400..12_000], 440.0) > 9_000.0);
    assert!(strength(&left[12_200..24_000 - 480], 1000.0) > 9_000.0);
}

/// Programs of the time had voices so: the bit is switched at 16 kHz, and high for as long as a sample is.
#[test]
fn a_bit_that_is_switched_faster_than_anybody_hears_is_its_share_of_time() {
    const PERIOD: u64 = 62_500;
    let mut bench = Bench::new("pulses");
    // OUT stands high, as its gate is closed.
    bench.pitch(440);
    for period in 0..8000_u32 {
        let angle = TAU * 500.0 * f64::from(period) / 16_000.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within a period"
        )]
        let long = (31_250.0 + 25_000.0 * angle.sin()) as u64;
        bench.pit.write(PORT_61, 1, 2);
        bench.pass(long);
        bench.pit.write(PORT_61, 1, 0);
        bench.pass(PERIOD - long);
    }
    let left = bench.left();
    assert!((23_000..24_100).contains(&left.len()), "{}", left.len());
    let heard = &left[4800..];
    let own = strength(heard, 500.0);
    assert!((5_500.0..7_000.0).contains(&own), "{own}");
    for other in [250.0, 1000.0, 1500.0] {
        assert!(strength(heard, other) < own / 20.0, "{other}");
    }
}

#[test]
fn what_is_too_high_for_anybody_is_hardly_heard() {
    let mut bench = Bench::new("high");
    bench.pit.write(PORT_61, 1, 3);
    bench.program(0xb6, 8);
    bench.pass(1000 * MILLISECOND);
    // Behind the click of its begin.
    assert!(bench.left()[2000..].iter().all(|it| it.abs() < 500.0));
}

#[test]
fn a_level_falls_silent() {
    let mut bench = Bench::new("level");
    bench.pitch(440);
    bench.pit.write(PORT_61, 1, 2);
    bench.pass(1000 * MILLISECOND);
    assert!((4_700..4_900).contains(&bench.left().len()));
    assert!(bench.left()[..10].iter().any(|it| *it > 10_000.0));
}

#[test]
fn a_machine_without_time_makes_up_for_half_a_second_at_most() {
    let mut bench = Bench::new("late");
    bench.pit.write(PORT_61, 1, 3);
    bench.pitch(440);
    bench.clock.set(1 << 62);
    bench.pit.listen();
    assert!((23_000..24_100).contains(&bench.left().len()));
}

#[test]
fn a_restored_timer_is_heard_where_it_is() {
    let mut bench = Bench::new("restored");
    bench.pit.write(PORT_61, 1, 3);
    bench.pitch(440);
    let saved = bench.pit.save();
    let mut other = Bench::new("other");
    other.clock.set(bench.clock.now());
    other.pit.restore(&saved).unwrap();
    other.pass(100 * MILLISECOND);
    assert!((4_000..4_900).contains(&other.left().len()));
}
