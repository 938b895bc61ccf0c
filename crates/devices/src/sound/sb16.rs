//! Creative's Sound Blaster 16: what programs for DOS and systems before PCI know.
//!
//! Samples go by ISA's DMA, at the pace of their rate. Time is the machine's clock, as for AC'97: the card is brought
//! up to the present when it is looked at, and by an alarm. Volumes are kept and do nothing. There is no synthesizer,
//! no MIDI and no ADPCM: ports of the former read all-ones, compressed blocks do not begin.
//! Spec: Creative, "Sound Blaster Series Hardware Programming Guide".

mod command;
mod mixer;
mod transfer;

use std::sync::{Arc, Mutex};

use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use super::{Frame, RATE, Wave};
use crate::isa_dma::{DmaChannel, IsaDma};
use crate::ports::{read_bytes, write_bytes};
use crate::{
    Clock, Device, DeviceState, Line, PortRange, RestoreError, Timer, decode_state, encode_state,
};

use command::{MOST_PARAMETERS, NARROW, WIDE, parameters};
use mixer::{IRQS, Mixer};
use transfer::{Progress, SECOND, Transfer};

/// From the mixer on: the synthesizer before it is not there.
pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x224,
    count: 12,
    offset: MIXER_INDEX,
}];
/// Which interrupts the card can be told to use, in the order of [`Sb16Parts::irqs`].
pub const INTERRUPTS: [u8; 4] = IRQS;

const KIND: &str = "sb16";
const VERSION: u16 = 1;

const MIXER_INDEX: u64 = 0x4;
const MIXER_DATA: u64 = 0x5;
const RESET: u64 = 0x6;
const ANSWER: u64 = 0xa;
const COMMAND: u64 = 0xc;
/// Whether there is an answer; reading it is also the acknowledgement of an interrupt for bytes, the next one
/// for words.
const ANSWER_STATUS: u64 = 0xe;
const WIDE_STATUS: u64 = 0xf;

/// Says that it is, in bit 7: there is an answer, or a command cannot be taken.
const IS: u8 = 0xff;
const IS_NOT: u8 = 0x7f;
/// The answer to a reset.
const READY: u8 = 0xaa;
/// Answers that nobody fetches are lost.
const MOST_ANSWERS: usize = 64;
const FIRST_RATE: u32 = 11_025;

/// Between two looks while something plays, at most and at least, in nanoseconds.
const LOOK: u64 = 10_000_000;
const SHORTEST_LOOK: u64 = 500_000;
/// How long a sample that was written directly is heard, in frames of the file.
const DIRECT: u64 = RATE as u64 / 20;

/// What a card is wired to.
#[derive(Debug)]
pub struct Sb16Parts {
    pub memory: GuestMemory,
    pub dma: Arc<Mutex<IsaDma>>,
    pub clock: Arc<dyn Clock>,
    pub timer: Arc<dyn Timer>,
    /// Those of [`INTERRUPTS`].
    pub irqs: [Arc<dyn Line>; 4],
    /// Where what it plays goes.
    pub output: Option<Wave>,
}

/// The processor's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Dsp {
    /// It is held in reset.
    resets: bool,
    /// A command whose parameters are still to come, and those that have.
    command: Option<u8>,
    parameters: Vec<u8>,
    answers: Vec<u8>,
    /// Read again where there is no more.
    last_answer: u8,
    /// Of playing and recording, in frames a second, or samples where a time constant said so.
    rates: [u32; 2],
    rate_is_of_samples: bool,
    /// Samples of a block, less one, for commands that do not say.
    block: u16,
    speaker: bool,
    test: u8,
    /// Of bytes and of words.
    transfers: [Option<Transfer>; 2],
    /// Interrupts of either that nobody has acknowledged.
    pending: u8,
}

impl Dsp {
    fn power_on() -> Dsp {
        Dsp {
            resets: false,
            command: None,
            parameters: Vec::new(),
            answers: Vec::new(),
            last_answer: 0xff,
            rates: [FIRST_RATE; 2],
            rate_is_of_samples: false,
            block: 0x7ff,
            speaker: false,
            test: 0,
            transfers: [None, None],
            pending: 0,
        }
    }

    fn check(&self) -> Result<(), String> {
        let known = self.command.is_none_or(|it| parameters(it) > 0);
        if self.parameters.len() > MOST_PARAMETERS || !known {
            return Err("a command of too many parameters".into());
        }
        if self.answers.len() > MOST_ANSWERS {
            return Err("too many answers".into());
        }
        let rates = transfer::RATES;
        let transfers = self.transfers.iter().flatten();
        if !transfers.clone().all(Transfer::is_sound)
            || !self.rates.iter().all(|it| rates.contains(it))
        {
            return Err("a rate or a block that there is not".into());
        }
        Ok(())
    }

    fn answer(&mut self, bytes: &[u8]) {
        let room = MOST_ANSWERS - self.answers.len().min(MOST_ANSWERS);
        self.answers.extend(bytes.iter().take(room));
    }

    fn next_answer(&mut self) -> u8 {
        if !self.answers.is_empty() {
            self.last_answer = self.answers.remove(0);
        }
        self.last_answer
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Sb16StateV1 {
    dsp: Dsp,
    mixer: Mixer,
}

/// A sample that the guest wrote by itself, and when.
#[derive(Debug, Clone, Copy)]
struct Direct {
    sample: i16,
    since: u64,
}

#[derive(Debug)]
struct Core {
    dsp: Dsp,
    /// It is no state: who begins as this machine begins with silence.
    direct: Option<Direct>,
    clock: Arc<dyn Clock>,
    output: Option<Wave>,
    /// Up to when the card was brought.
    seen: u64,
}

/// The card on the ISA bus.
#[derive(Debug)]
pub struct Sb16 {
    core: Core,
    mixer: Mixer,
    timer: Arc<dyn Timer>,
    irqs: [Arc<dyn Line>; 4],
    dma: Arc<Mutex<IsaDma>>,
    memory: GuestMemory,
}

impl Sb16 {
    #[must_use]
    pub fn new(parts: Sb16Parts) -> Sb16 {
        Sb16 {
            core: Core {
                dsp: Dsp::power_on(),
                direct: None,
                seen: parts.clock.now(),
                clock: parts.clock,
                output: parts.output,
            },
            mixer: Mixer::power_on(),
            timer: parts.timer,
            irqs: parts.irqs,
            dma: parts.dma,
            memory: parts.memory,
        }
    }

    /// Brings what plays and records up to the present.
    fn catch_up(&mut self) {
        let channel = |channel: Option<u8>| {
            channel.map(|it| DmaChannel::new(Arc::clone(&self.dma), it, self.memory.clone()))
        };
        let channels = [
            channel(self.mixer.narrow_channel()),
            channel(self.mixer.wide_channel()),
        ];
        self.core.catch_up(&channels);
        self.settle();
    }

    /// The interrupt and the alarm are as the registers say.
    fn settle(&self) {
        let chosen = self.mixer.irq();
        for (index, line) in self.irqs.iter().enumerate() {
            line.set(self.core.dsp.pending != 0 && chosen == Some(index));
        }
        let transfers = self.core.dsp.transfers.iter().flatten();
        let ends = transfers.filter(|it| !it.paused).map(Transfer::time_left);
        match ends.min() {
            Some(end) => {
                let look = end.clamp(SHORTEST_LOOK, LOOK);
                self.timer.arm(self.core.seen.saturating_add(look));
            }
            None => self.timer.disarm(),
        }
    }

    fn byte(&mut self, offset: u64) -> u8 {
        let dsp = &mut self.core.dsp;
        match offset {
            MIXER_INDEX => self.mixer.selected(),
            MIXER_DATA => self.mixer.read(dsp.pending),
            ANSWER => dsp.next_answer(),
            COMMAND if dsp.resets => IS,
            COMMAND => IS_NOT,
            ANSWER_STATUS => {
                dsp.pending &= !(1 << NARROW);
                if dsp.answers.is_empty() { IS_NOT } else { IS }
            }
            WIDE_STATUS => {
                dsp.pending &= !(1 << WIDE);
                0xff
            }
            _ => 0xff,
        }
    }

    fn put(&mut self, offset: u64, value: u8) {
        match offset {
            MIXER_INDEX => self.mixer.select(value),
            MIXER_DATA => self.mixer.write(value),
            RESET => self.core.set_reset(value & 1 != 0),
            COMMAND => self.core.take(value),
            _ => {}
        }
    }
}

impl Core {
    fn catch_up(&mut self, channels: &[Option<DmaChannel>; 2]) {
        let now = self.clock.now();
        let elapsed = now.saturating_sub(self.seen);
        self.seen = now;
        for (which, slot) in self.dsp.transfers.iter_mut().enumerate() {
            let Some(transfer) = slot else { continue };
            let mut progress = Progress {
                channel: channels[which].as_ref(),
                output: self.output.as_mut(),
            };
            let advanced = transfer.advance(elapsed, &mut progress);
            if advanced.interrupts {
                self.dsp.pending |= 1 << which;
            }
            if advanced.over {
                *slot = None;
            }
        }
    }

    /// The processor begins anew when it is let go.
    fn set_reset(&mut self, resets: bool) {
        if self.dsp.resets && !resets {
            self.dsp = Dsp::power_on();
            self.dsp.answer(&[READY]);
            self.direct = None;
        }
        self.dsp.resets = resets;
    }

    /// A byte of a command.
    fn take(&mut self, value: u8) {
        if self.dsp.resets {
            return;
        }
        let Some(command) = self.dsp.command else {
            if parameters(value) == 0 {
                self.run(value, &[]);
            } else {
                self.dsp.command = Some(value);
            }
            return;
        };
        self.dsp.parameters.push(value);
        if self.dsp.parameters.len() >= parameters(command) {
            self.dsp.command = None;
            let with = std::mem::take(&mut self.dsp.parameters);
            self.run(command, &with);
        }
    }

    /// The guest writes samples at its own pace: each is heard until the next one.
    fn sound_directly(&mut self, byte: u8) {
        let now = self.clock.now();
        let sample = (u16::from(byte) << 8 ^ 0x8000).cast_signed();
        let mut since = now;
        if let Some(before) = self.direct {
            let elapsed = now.saturating_sub(before.since).min(SECOND);
            let heard = (elapsed * u64::from(RATE) / SECOND).min(DIRECT);
            if heard < DIRECT {
                // What made no whole frame goes to the next one.
                since = before.since + (heard * SECOND).div_ceil(u64::from(RATE));
            }
            let frames: Vec<Frame> = (0..heard).map(|_| [before.sample; 2]).collect();
            if let Some(output) = self.output.as_mut().filter(|_| heard > 0) {
                output.play(RATE, &frames);
            }
        }
        self.direct = Some(Direct { sample, since });
    }
}

impl Device for Sb16 {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.catch_up();
        let value = read_bytes(offset, size, |at| self.byte(at));
        self.settle();
        value
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.catch_up();
        write_bytes(offset, size, value, |at, byte| self.put(at, byte));
        self.settle();
    }

    fn reset(&mut self) {
        self.core.dsp = Dsp::power_on();
        self.core.direct = None;
        self.mixer = Mixer::power_on();
        self.settle();
    }

    fn save(&self) -> DeviceState {
        let state = Sb16StateV1 {
            dsp: self.core.dsp.clone(),
            mixer: self.mixer.clone(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: Sb16StateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        state.dsp.check().map_err(damaged)?;
        state.mixer.check().map_err(damaged)?;
        self.core.dsp = state.dsp;
        self.core.direct = None;
        self.core.seen = self.core.clock.now();
        self.mixer = state.mixer;
        self.settle();
        Ok(())
    }

    fn expire(&mut self, _now: u64) {
        self.catch_up();
    }
}

#[cfg(test)]
mod tests;
