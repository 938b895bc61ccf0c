//! What a guest plays, as a file: one WAVE of 16-bit stereo, however many pieces it comes in and at whatever
//! rates. While nothing plays, nothing is written.
//! Spec: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", "Waveform Audio File
//! Format".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use thiserror::Error;

/// Frames a second in the file.
pub const RATE: u32 = 48_000;
const FRAME: u32 = 4;
const HEADER: u32 = 44;
/// Bytes of sound in one file: its lengths have 32 bits.
const MOST: u32 = u32::MAX - 4096;

#[derive(Debug, Error)]
pub enum WaveError {
    #[error("cannot begin the sound file")]
    Begin { source: io::Error },
}

/// A left and a right sample.
pub(crate) type Frame = [i16; 2];

#[derive(Debug)]
pub struct Wave {
    file: File,
    /// Bytes of sound so far.
    len: u32,
    last: Frame,
    /// Where the next frame of the file lies between the last frame and the next one, in parts of `RATE`.
    position: u32,
}

impl Wave {
    /// Begins the file anew.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn begin(file: File) -> Result<Wave, WaveError> {
        let mut wave = Wave {
            file,
            len: 0,
            last: [0; 2],
            position: 0,
        };
        let begun = wave.file.set_len(0);
        let begun = begun.and_then(|()| wave.append(&[]));
        begun.map_err(|source| WaveError::Begin { source })?;
        Ok(wave)
    }

    /// Plays frames that were made for `rate` a second. What does not fit on the host's disk is lost, as
    /// what nobody hears.
    pub(crate) fn play(&mut self, rate: u32, frames: &[Frame]) {
        let rate = rate.clamp(1, 4 * RATE);
        let mut bytes = Vec::with_capacity(frames.len() * 4);
        for frame in frames {
            while self.position < RATE {
                for (last, next) in self.last.iter().zip(frame) {
                    bytes.extend(between(*last, *next, self.position).to_le_bytes());
                }
                self.position += rate;
            }
            self.position -= RATE;
            self.last = *frame;
        }
        let _ = self.append(&bytes);
    }

    /// Sound, and the lengths that hold with it.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let more = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if more > MOST - self.len {
            return Ok(());
        }
        let at = u64::from(HEADER) + u64::from(self.len);
        self.file.write_all_at(bytes, at)?;
        self.len += more;
        self.file.write_all_at(&header(self.len), 0)
    }
}

/// What lies between two samples, `position` of [`RATE`] parts behind the first.
fn between(first: i16, second: i16, position: u32) -> i16 {
    let (first, second) = (i64::from(first), i64::from(second));
    let between = first + (second - first) * i64::from(position) / i64::from(RATE);
    i16::try_from(between).unwrap_or(0)
}

fn header(len: u32) -> Vec<u8> {
    let mut header = b"RIFF".to_vec();
    header.extend((len + HEADER - 8).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16u32.to_le_bytes());
    // Plain samples, two channels.
    header.extend([1, 0, 2, 0]);
    header.extend(RATE.to_le_bytes());
    header.extend((RATE * FRAME).to_le_bytes());
    // Bytes of a frame, bits of a sample.
    header.extend([4, 0, 16, 0]);
    header.extend(b"data");
    header.extend(len.to_le_bytes());
    header
}

#[cfg(test)]
mod tests;
