use std::fs;
use std::path::PathBuf;

use super::*;

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("wave-{name}-{}", std::process::id())))
    }

    fn begin(&self) -> Wave {
        Wave::begin(File::create(&self.0).unwrap()).unwrap()
    }

    fn samples(&self) -> Vec<i16> {
        let bytes = fs::read(&self.0).unwrap();
        let pairs = bytes[HEADER as usize..].chunks_exact(2);
        pairs.map(|it| i16::from_le_bytes([it[0], it[1]])).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_file_says_at_any_time_how_long_it_is() {
    let scratch = Scratch::new("header");
    let mut wave = scratch.begin();
    for frames in [0, 10, 30] {
        wave.play(RATE, &vec![[1, 2]; frames]);
        let bytes = fs::read(&scratch.0).unwrap();
        assert_eq!(bytes[..4], *b"RIFF");
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(4) as usize, bytes.len() - 8);
        assert_eq!(word(40) as usize, bytes.len() - HEADER as usize);
        assert_eq!((word(24), word(28)), (48_000, 192_000));
    }
    assert_eq!(scratch.samples().len(), 80);
}

#[test]
fn frames_of_the_file_s_rate_are_as_they_were() {
    let scratch = Scratch::new("same");
    scratch
        .begin()
        .play(RATE, &[[1, -1], [i16::MAX, i16::MIN], [3, 4]]);
    // One behind, since each lies between two.
    assert_eq!(scratch.samples(), [0, 0, 1, -1, i16::MAX, i16::MIN]);
}

#[test]
fn other_rates_last_as_long_in_whatever_pieces() {
    for rate in [8000, 44_100, 96_000] {
        let scratch = Scratch::new("rates");
        let mut wave = scratch.begin();
        for _ in 0..rate / 100 {
            wave.play(rate, &[[7, 7]; 100]);
        }
        let len = scratch.samples().len() / 2;
        assert!(len.abs_diff(RATE as usize) <= 12, "{len} frames of {rate}");
    }
}

#[test]
fn between_two_frames_there_is_a_line() {
    let scratch = Scratch::new("line");
    scratch.begin().play(12_000, &[[400, -400]]);
    assert_eq!(scratch.samples(), [0, 0, 100, -100, 200, -200, 300, -300]);
}
