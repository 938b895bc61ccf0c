//! The PC speaker: a membrane that one bit pushes, as what it sounds like.
//!
//! Whoever has the bit says for how many ticks it was high. A frame's sample is the share of its time, so that
//! tones have no false ones beside them, and that programs which switch the bit faster than anybody hears
//! (pulse width modulation) are heard as they mean it. Like a real speaker, it hears no level, only changes.
//! Spec: Intel 82C54 datasheet; IBM PC AT Technical Reference, "Speaker".

use super::{Frame, RATE, Wave};
use crate::timers::pit::FREQUENCY;

/// Ticks that are made up for at once, at most, after the machine had no time for us.
const MOST: u64 = FREQUENCY / 2;
/// A sample of a bit that is always high.
const LOUD: u64 = 16_000;
/// Parts of a sample that the filter keeps, and how fast it forgets a level: below 30 Hz.
const PARTS: i32 = 256;
const FORGETS: i32 = 256;
/// Frames after the last change until nothing is heard: by then the filter has forgotten all.
const SETTLES: u32 = RATE / 10;

#[derive(Debug)]
pub(crate) struct Speaker {
    output: Wave,
    /// Up to which tick it was listened to.
    seen: u64,
    /// Of the frame that is not whole yet: ticks that the bit was high.
    high: u64,
    /// Where the bit pushes the membrane, and where that is, in samples and in parts of one.
    pushed: i32,
    position: i32,
    /// Frames since the bit's share was another.
    steady: u32,
}

impl Speaker {
    pub(crate) fn new(output: Wave, tick: u64) -> Speaker {
        Speaker {
            output,
            seen: tick,
            high: 0,
            pushed: 0,
            position: 0,
            steady: SETTLES,
        }
    }

    /// Forgets what was to come, as of a machine that is another now.
    pub(crate) fn begin(&mut self, tick: u64) {
        self.seen = tick;
        self.high = 0;
        self.pushed = 0;
        self.position = 0;
        self.steady = SETTLES;
    }

    /// It moves no more, and will not while the bit stays like this.
    pub(crate) fn rests_at(&self, high: bool) -> bool {
        let level = if high { LOUD } else { 0 };
        let pushed = u64::try_from(self.pushed) == Ok(level);
        self.steady == SETTLES && pushed && (high || self.high == 0)
    }

    /// Listens up to tick `to`. `high` says for how many ticks between two the bit was high.
    pub(crate) fn listen(&mut self, to: u64, high: impl Fn(u64, u64) -> u64) {
        self.seen = self.seen.max(to.saturating_sub(MOST));
        let mut frames: Vec<Frame> = Vec::new();
        while self.seen < to {
            let frame = frame_of(self.seen);
            let (begins, ends) = (first_tick(frame), first_tick(frame + 1));
            let until = ends.min(to);
            self.high += high(self.seen, until);
            self.seen = until;
            if until == ends {
                let ticks = std::mem::take(&mut self.high).min(ends - begins);
                let share = i32::try_from(ticks * LOUD / (ends - begins)).unwrap_or(0);
                frames.extend(self.push(share).map(|sample| [sample; 2]));
            }
        }
        if !frames.is_empty() {
            self.output.play(RATE, &frames);
        }
    }

    /// As [`Speaker::listen`], where the bit was low and nothing moves: what nobody hears need not be computed.
    pub(crate) fn skip(&mut self, to: u64) {
        self.seen = self.seen.max(to);
    }

    /// The next sample; none where nothing is heard.
    fn push(&mut self, pushed: i32) -> Option<i16> {
        let before = std::mem::replace(&mut self.pushed, pushed);
        self.steady = match pushed == before {
            true => (self.steady + 1).min(SETTLES),
            false => 0,
        };
        if self.steady == SETTLES {
            self.position = 0;
            return None;
        }
        self.position -= self.position / FORGETS;
        self.position += (pushed - before) * PARTS;
        i16::try_from(self.position / PARTS).ok()
    }
}

/// Which frame a tick is in. Saved machines have run for centuries at most.
fn frame_of(tick: u64) -> u64 {
    let frame = u128::from(tick) * u128::from(RATE) / u128::from(FREQUENCY);
    u64::try_from(frame).unwrap_or(u64::MAX - 1)
}

fn first_tick(frame: u64) -> u64 {
    let tick = (u128::from(frame) * u128::from(FREQUENCY)).div_ceil(u128::from(RATE));
    u64::try_from(tick).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
