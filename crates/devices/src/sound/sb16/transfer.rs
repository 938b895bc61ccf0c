//! Sound that goes by DMA, at its rate, in blocks whose ends interrupt.
//! Spec: Creative, "Sound Blaster Series Hardware Programming Guide", "Digital Sound Data I/O".

use serde::{Deserialize, Serialize};

use crate::isa_dma::DmaChannel;
use crate::sound::{Frame, Wave};

pub(super) const SECOND: u64 = 1_000_000_000;
/// What is made up for at once, at most, after the machine had no time for us. Nanoseconds.
const MOST: u64 = SECOND / 2;
/// Samples that are moved in one piece.
const PIECE: u32 = 4096;
/// Samples of the longest block.
pub(super) const LONGEST: u32 = 0x1_0000;
/// Whatever a guest asks for is one of these, in frames a second.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 4000..=48_000;

/// What a command said of its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) wide: bool,
    pub(super) stereo: bool,
    pub(super) signed: bool,
}

impl Format {
    pub(super) const OLD: Format = Format {
        wide: false,
        stereo: false,
        signed: false,
    };

    fn bytes(self) -> usize {
        if self.wide { 2 } else { 1 }
    }

    fn channels(self) -> u32 {
        if self.stereo { 2 } else { 1 }
    }

    fn silence(self) -> &'static [u8] {
        match (self.signed, self.wide) {
            (true, _) => &[0, 0],
            (false, true) => &[0, 0x80],
            (false, false) => &[0x80, 0x80],
        }
    }

    fn sample(self, bytes: &[u8]) -> i16 {
        let value = match *bytes {
            [low, high] => u16::from_le_bytes([low, high]),
            [byte] => u16::from(byte) << 8,
            _ => 0,
        };
        let value = if self.signed { value } else { value ^ 0x8000 };
        value.cast_signed()
    }
}

/// What goes on at a time: to the guest's ears, or from a microphone at which it is silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) format: Format,
    pub(super) records: bool,
    /// Begins a new block at the end of one.
    pub(super) again: bool,
    pub(super) paused: bool,
    /// Moves nothing: a block of silence.
    pub(super) silent: bool,
    /// Frames a second.
    pub(super) rate: u32,
    /// Samples of a block, and those of this one that are left. Neither is none.
    pub(super) block: u32,
    pub(super) left: u32,
    /// Time that made no whole frame yet, in frames times a second's nanoseconds.
    pub(super) rest: u64,
}

/// What a transfer moves by.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    /// Absent where the guest has chosen none.
    pub(super) channel: Option<&'a DmaChannel>,
    pub(super) output: Option<&'a mut Wave>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Advanced {
    pub(super) interrupts: bool,
    pub(super) over: bool,
}

impl Transfer {
    pub(super) fn is_sound(&self) -> bool {
        let lengths = [self.block, self.left];
        lengths.iter().all(|it| (1..=LONGEST).contains(it)) && RATES.contains(&self.rate)
    }

    /// Nanoseconds until the end of its block.
    pub(super) fn time_left(&self) -> u64 {
        let frames = self.left.div_ceil(self.format.channels());
        u64::from(frames) * SECOND / u64::from(self.rate.max(1))
    }

    /// Moves as much as `elapsed` nanoseconds are good for.
    pub(super) fn advance(&mut self, elapsed: u64, progress: &mut Progress<'_>) -> Advanced {
        let mut advanced = Advanced::default();
        if self.paused {
            return advanced;
        }
        let due = self.rest % SECOND + elapsed.min(MOST) * u64::from(self.rate);
        let frames = u32::try_from(due / SECOND).unwrap_or(0);
        self.rest = due % SECOND;
        let mut samples = frames * self.format.channels();
        while samples > 0 {
            let moved = self.transfer(samples.min(self.left).min(PIECE), progress);
            if moved == 0 {
                // The guest's DMA gives none: time goes by.
                break;
            }
            samples -= moved;
            self.left -= moved;
            if self.left == 0 {
                advanced.interrupts = true;
                self.left = self.block;
                if !self.again {
                    advanced.over = true;
                    break;
                }
            }
        }
        advanced
    }

    /// Answers how many samples were moved.
    fn transfer(&self, samples: u32, progress: &mut Progress<'_>) -> u32 {
        if self.silent {
            return samples;
        }
        let Some(channel) = progress.channel else {
            return 0;
        };
        let size = self.format.bytes();
        let len = size * usize::try_from(samples).unwrap_or(0);
        let mut bytes: Vec<u8> = self
            .format
            .silence()
            .iter()
            .copied()
            .cycle()
            .take(len)
            .collect();
        let (moved, _) = if self.records {
            channel.give(&bytes)
        } else {
            channel.take(&mut bytes)
        };
        bytes.truncate(moved);
        if let Some(output) = progress.output.as_mut().filter(|_| !self.records) {
            output.play(self.rate, &self.frames(&bytes));
        }
        u32::try_from(moved / size).unwrap_or(0)
    }

    fn frames(&self, bytes: &[u8]) -> Vec<Frame> {
        let samples = bytes.chunks_exact(self.format.bytes());
        let samples: Vec<i16> = samples.map(|bytes| self.format.sample(bytes)).collect();
        if !self.format.stereo {
            return samples.into_iter().map(|sample| [sample; 2]).collect();
        }
        let frames = samples.chunks(2);
        frames
            .map(|frame| [frame[0], frame.get(1).copied().unwrap_or(frame[0])])
            .collect()
    }
}
