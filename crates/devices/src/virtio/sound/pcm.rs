//! Sample formats and frame rates, and frames as the file has them.
//! Spec: VIRTIO 1.2, "VIRTIO_SND_R_PCM_INFO", "VIRTIO_SND_R_PCM_SET_PARAMS".

use serde::{Deserialize, Serialize};

use crate::sound::Frame;

pub(super) const MOST_CHANNELS: u8 = 2;
/// Frames a second, by the numbers of rates from 0 on.
const RATES: [u32; 13] = [
    5512, 8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000, 176_400,
    192_000,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    U8,
    S16,
    /// In four bytes, of which the last says nothing.
    S24,
    S32,
    Float,
}

/// By the numbers that drivers know them by.
const FORMATS: [(u8, Format); 5] = [
    (4, Format::U8),
    (5, Format::S16),
    (15, Format::S24),
    (17, Format::S32),
    (19, Format::Float),
];

/// A bit for the number of each format.
pub(super) fn formats() -> u64 {
    FORMATS
        .iter()
        .fold(0, |bits, (number, _)| bits | 1 << number)
}

/// Likewise of each rate.
pub(super) fn rates() -> u64 {
    (1 << RATES.len()) - 1
}

impl Format {
    /// Bytes of a sample.
    fn len(self) -> usize {
        match self {
            Format::U8 => 1,
            Format::S16 => 2,
            Format::S24 | Format::S32 | Format::Float => 4,
        }
    }

    /// Each byte of a sample that nobody hears.
    fn silence(self) -> u8 {
        match self {
            Format::U8 => 0x80,
            _ => 0,
        }
    }

    /// Of a sample's bytes, as many as it has, the sixteen bits that are heard.
    fn sample(self, bytes: &[u8]) -> i16 {
        match (self, bytes) {
            (Format::U8, &[byte]) => (i16::from(byte) - 0x80) << 8,
            (Format::S16, &[low, high])
            | (Format::S24, &[_, low, high, _])
            | (Format::S32, &[_, _, low, high]) => i16::from_le_bytes([low, high]),
            (Format::Float, &[a, b, c, d]) => {
                let scaled = f32::from_le_bytes([a, b, c, d]) * 32_768.0;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "what is too loud is as loud as can be"
                )]
                let sample = scaled as i16;
                sample
            }
            _ => 0,
        }
    }
}

/// What a driver has settled on for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parameters {
    channels: u8,
    format: Format,
    /// Frames a second.
    rate: u32,
}

impl Parameters {
    /// By the numbers of format and rate. `None` where one of them is not on offer.
    pub(super) fn new(channels: u8, format: u8, rate: u8) -> Option<Parameters> {
        let (_, format) = *FORMATS.iter().find(|(number, _)| *number == format)?;
        let parameters = Parameters {
            channels,
            format,
            rate: *RATES.get(usize::from(rate))?,
        };
        parameters.is_possible().then_some(parameters)
    }

    pub(super) fn is_possible(&self) -> bool {
        (1..=MOST_CHANNELS).contains(&self.channels) && RATES.contains(&self.rate)
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Bytes of a frame.
    pub(super) fn frame_len(&self) -> usize {
        usize::from(self.channels) * self.format.len()
    }

    /// So many bytes of silence.
    pub(super) fn silence(&self, len: usize) -> Vec<u8> {
        vec![self.format.silence(); len]
    }

    /// One channel is heard on both sides.
    pub(super) fn frames(&self, bytes: &[u8]) -> Vec<Frame> {
        let len = self.format.len();
        let frames = bytes.chunks_exact(self.frame_len());
        let frames = frames.map(|frame| {
            let (left, right) = (&frame[..len], &frame[frame.len() - len..]);
            [left, right].map(|bytes| self.format.sample(bytes))
        });
        frames.collect()
    }
}

#[cfg(test)]
mod tests;
