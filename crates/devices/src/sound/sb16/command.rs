//! Commands of the digital sound processor. Spec: Creative, "Sound Blaster Series Hardware Programming Guide",
//! "DSP Commands".

use super::transfer::{Format, RATES, Transfer};
use super::{Core, Dsp};

/// No command has more parameters.
pub(super) const MOST_PARAMETERS: usize = 3;
/// 4.05, that of a Sound Blaster 16.
const RELEASE: [u8; 2] = [4, 5];

/// How many bytes follow a command.
pub(super) fn parameters(command: u8) -> usize {
    match command {
        0x04 | 0x0f | 0x10 | 0x38 | 0x40 | 0xe0 | 0xe2 | 0xe4 => 1,
        0x05 | 0x0e | 0x14..=0x17 | 0x24 | 0x41 | 0x42 | 0x48 | 0x74..=0x77 | 0x80 => 2,
        0xb0..=0xcf => 3,
        _ => 0,
    }
}

/// Which of the two transfers at a time.
pub(super) const NARROW: usize = 0;
pub(super) const WIDE: usize = 1;

impl Core {
    /// A command with all its parameters.
    pub(super) fn run(&mut self, command: u8, with: &[u8]) {
        let byte = with.first().copied().unwrap_or(0);
        let word = u16::from_le_bytes([byte, with.get(1).copied().unwrap_or(0)]);
        let dsp = &mut self.dsp;
        match command {
            0x10 => self.sound_directly(byte),
            0x14 | 0x91 | 0x1c | 0x90 => self.begin_old(command, word, false),
            0x24 | 0x99 | 0x2c | 0x98 => self.begin_old(command, word, true),
            0x20 => dsp.answer(&[0x80]),
            0x40 => {
                dsp.rates = [rate_of(1_000_000 / (256 - u32::from(byte))); 2];
                dsp.rate_is_of_samples = true;
            }
            // Big-endian, unlike lengths.
            0x41 | 0x42 => {
                dsp.rates[usize::from(command & 2) / 2] = rate_of(word.swap_bytes().into());
                dsp.rate_is_of_samples = false;
            }
            0x45 | 0xd4 => self.pause(NARROW, false),
            0x47 | 0xd6 => self.pause(WIDE, false),
            0xd0 => self.pause(NARROW, true),
            0xd5 => self.pause(WIDE, true),
            0x48 => dsp.block = word,
            0x80 => self.begin_silence(word),
            0xb0..=0xcf => self.begin_new(command, byte, with),
            0xd9 => self.end(WIDE),
            0xda => self.end(NARROW),
            0xf2 => dsp.pending |= 1 << NARROW,
            0xf3 => dsp.pending |= 1 << WIDE,
            _ => dsp.tell(command, byte),
        }
    }

    /// As cards before this one had it: bytes, one channel.
    fn begin_old(&mut self, command: u8, length: u16, records: bool) {
        let again = matches!(command, 0x1c | 0x90 | 0x2c | 0x98);
        // Only the first of them has a length of its own.
        let length = match command {
            0x14 | 0x24 => length,
            _ => self.dsp.block,
        };
        self.begin(Format::OLD, records, again, length);
    }

    /// Any format: the command says how wide and whether again, a mode what the samples are.
    fn begin_new(&mut self, command: u8, mode: u8, with: &[u8]) {
        let format = Format {
            wide: command < 0xc0,
            stereo: mode & 1 << 5 != 0,
            signed: mode & 1 << 4 != 0,
        };
        let length = match *with {
            [_, low, high] => u16::from_le_bytes([low, high]),
            _ => 0,
        };
        self.begin(format, command & 1 << 3 != 0, command & 1 << 2 != 0, length);
    }

    /// A length is one less than the samples.
    fn begin(&mut self, format: Format, records: bool, again: bool, length: u16) {
        let dsp = &mut self.dsp;
        let rate = dsp.rates[usize::from(records)];
        let block = u32::from(length) + 1;
        let transfer = Transfer {
            format,
            records,
            again,
            paused: false,
            silent: false,
            rate: if dsp.rate_is_of_samples && format.stereo {
                rate_of(rate / 2)
            } else {
                rate
            },
            block,
            left: block,
            rest: 0,
        };
        dsp.begin(transfer);
    }

    fn begin_silence(&mut self, length: u16) {
        let block = u32::from(length) + 1;
        self.dsp.begin(Transfer {
            format: Format::OLD,
            records: false,
            again: false,
            paused: false,
            silent: true,
            rate: self.dsp.rates[0],
            block,
            left: block,
            rest: 0,
        });
    }

    fn pause(&mut self, which: usize, paused: bool) {
        if let Some(transfer) = &mut self.dsp.transfers[which] {
            transfer.paused = paused;
        }
    }

    /// At the end of its block.
    fn end(&mut self, which: usize) {
        if let Some(transfer) = &mut self.dsp.transfers[which] {
            transfer.again = false;
        }
    }
}

impl Dsp {
    /// There is one converter each way: what went through it ends.
    fn begin(&mut self, transfer: Transfer) {
        let which = if transfer.format.wide { WIDE } else { NARROW };
        let other = &mut self.transfers[1 - which];
        if other
            .as_ref()
            .is_some_and(|it| it.records == transfer.records)
        {
            *other = None;
        }
        self.transfers[which] = Some(transfer);
    }

    /// What only asks, or is kept.
    fn tell(&mut self, command: u8, byte: u8) {
        match command {
            0x0f => self.answer(&[0xff]),
            0xd1 => self.speaker = true,
            0xd3 => self.speaker = false,
            0xd8 => self.answer(&[if self.speaker { 0xff } else { 0 }]),
            0xe0 => self.answer(&[!byte]),
            0xe1 => self.answer(&RELEASE),
            0xe4 => self.test = byte,
            0xe8 => self.answer(&[self.test]),
            // Its copyright, to the zero at its end.
            0xe3 | 0xf8 => self.answer(&[0]),
            _ => {}
        }
    }
}

fn rate_of(wanted: u32) -> u32 {
    wanted.clamp(*RATES.start(), *RATES.end())
}
