//! An engine that goes through a list of buffers. Spec: the datasheet's "Native Audio Bus Master Control
//! Registers", "Buffer Descriptor List".

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use crate::sound::{Frame, Wave};

/// Bytes between the registers of two engines.
pub(super) const ENGINE_LEN: u64 = 0x10;
const LIST: u64 = 0x0;
const CURRENT: u64 = 0x4;
const LAST: u64 = 0x5;
const STATUS: u64 = 0x6;
const LEFT: u64 = 0x8;
const PREFETCHED: u64 = 0xa;
const CONTROL: u64 = 0xb;

const HALTED: u16 = 1 << 0;
const AT_LAST: u16 = 1 << 1;
const LAST_DONE: u16 = 1 << 2;
const DONE: u16 = 1 << 3;
const CLEARED: u16 = LAST_DONE | DONE | 1 << 4;

const RUN: u8 = 1 << 0;
const RESET: u8 = 1 << 1;
const INTERRUPT_LAST: u8 = 1 << 2;
const INTERRUPT_DONE: u8 = 1 << 4;
const CONTROL_WRITABLE: u8 = 0x1f;

/// In a descriptor: its length in samples, and that it wants to be told of.
const SAMPLES: u32 = 0xffff;
const TELL: u32 = 1 << 31;
const BUFFERS: u8 = 32;
/// Stereo.
const CHANNELS: u64 = 2;
const SAMPLE: usize = 2;
const SECOND: u64 = 1_000_000_000;
/// What is made up for at once, at most, after the machine had no time for us. Nanoseconds.
const MOST: u64 = SECOND / 2;
/// Frames that are moved in one piece.
const PIECE: u64 = 4096;

/// What an engine moves by.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    pub(super) memory: &'a GuestMemory,
    /// From memory; else silence is recorded.
    pub(super) plays: bool,
    pub(super) output: Option<&'a mut Wave>,
    pub(super) rate: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Engine {
    list: u32,
    current: u8,
    last: u8,
    status: u16,
    /// Samples of the current buffer.
    left: u16,
    prefetched: u8,
    control: u8,
    /// Of the current buffer: where it goes on, and whether its end is told of.
    address: u32,
    tells: bool,
    /// Time that made no whole frame yet, in frames times a second's nanoseconds.
    rest: u64,
}

impl Engine {
    pub(super) fn power_on() -> Engine {
        Engine {
            list: 0,
            current: 0,
            last: 0,
            status: HALTED,
            left: 0,
            prefetched: 0,
            control: 0,
            address: 0,
            tells: false,
            rest: 0,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.control & RUN != 0 && self.status & HALTED == 0
    }

    pub(super) fn interrupts(&self) -> bool {
        let has =
            |status: u16, control: u8| self.status & status != 0 && self.control & control != 0;
        has(LAST_DONE, INTERRUPT_LAST) || has(DONE, INTERRUPT_DONE)
    }

    pub(super) fn byte(&self, at: u64) -> u8 {
        let half = |value: u16| value.to_le_bytes()[(at & 1) as usize];
        match at {
            LIST..CURRENT => self.list.to_le_bytes()[(at & 3) as usize],
            CURRENT => self.current,
            LAST => self.last,
            STATUS..LEFT => half(self.status),
            LEFT..PREFETCHED => half(self.left),
            PREFETCHED => self.prefetched,
            CONTROL => self.control,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, at: u64, size: u8, value: u32, memory: &GuestMemory) {
        match (at, size) {
            (LIST, 4) => self.list = value & !7,
            // Current and last together.
            (CURRENT, 2) => self.set_last((value >> 8) as u8, memory),
            (LAST, 1) => self.set_last(value as u8, memory),
            (CURRENT, 4) => {
                self.set_last((value >> 8) as u8, memory);
                self.status &= !((value >> 16) as u16 & CLEARED);
            }
            (STATUS, 1 | 2) => self.status &= !(value as u16 & CLEARED),
            (CONTROL, 1) => self.set_control(value as u8, memory),
            _ => {}
        }
    }

    /// One that had come to its end goes on when there is more.
    fn set_last(&mut self, last: u8, memory: &GuestMemory) {
        self.last = last % BUFFERS;
        if self.control & RUN != 0 && self.status & HALTED != 0 && self.current != self.last {
            self.status &= !(HALTED | AT_LAST);
            self.step(memory);
        }
    }

    fn set_control(&mut self, control: u8, memory: &GuestMemory) {
        if control & RESET != 0 {
            let kept = control & CONTROL_WRITABLE & !(RESET | RUN);
            *self = Engine {
                control: kept,
                ..Engine::power_on()
            };
            return;
        }
        let begins = control & RUN != 0 && self.control & RUN == 0;
        self.control = control & CONTROL_WRITABLE;
        if control & RUN == 0 {
            self.status |= HALTED;
        } else if begins {
            self.status &= !(HALTED | AT_LAST);
            if self.left == 0 {
                self.load(memory);
            }
        }
    }

    /// To the next buffer of the list.
    fn step(&mut self, memory: &GuestMemory) {
        self.current = self.current.wrapping_add(1) % BUFFERS;
        self.load(memory);
    }

    fn load(&mut self, memory: &GuestMemory) {
        let at = u64::from(self.list) + u64::from(self.current % BUFFERS) * 8;
        // Where there is no RAM there are zeros: a buffer of nothing.
        let entry = memory.ram().read_obj::<[u32; 2]>(GuestAddress(at));
        let [address, control] = entry.unwrap_or_default().map(u32::from_le);
        self.address = address & !1;
        self.left = (control & SAMPLES) as u16;
        self.tells = control & TELL != 0;
        self.prefetched = self.current.wrapping_add(1) % BUFFERS;
        if self.current == self.last {
            self.status |= AT_LAST;
        }
    }

    /// Moves as much as `elapsed` nanoseconds are good for.
    pub(super) fn advance(&mut self, elapsed: u64, progress: &mut Progress<'_>) {
        if !self.runs() {
            self.rest = 0;
            return;
        }
        let due = self.rest % SECOND + elapsed.min(MOST) * u64::from(progress.rate);
        let mut frames = due / SECOND;
        self.rest = due % SECOND;
        // A list of empty buffers has an end as well.
        let mut turns = 2 * u32::from(BUFFERS) + (frames / PIECE) as u32;
        while self.runs() && turns > 0 && (frames > 0 || self.left == 0) {
            turns -= 1;
            let here = (u64::from(self.left) / CHANNELS).min(frames).min(PIECE);
            self.transfer(here as usize, progress);
            frames -= here;
            self.left -= (here * CHANNELS) as u16;
            self.address = self.address.wrapping_add((here * 2 * CHANNELS) as u32);
            if u64::from(self.left) < CHANNELS {
                self.left = 0;
                self.finish(progress.memory);
            }
        }
    }

    /// The current buffer is done.
    fn finish(&mut self, memory: &GuestMemory) {
        if self.tells {
            self.status |= DONE;
        }
        if self.current == self.last {
            self.status |= LAST_DONE | HALTED | AT_LAST;
            self.rest = 0;
        } else {
            self.step(memory);
        }
    }

    fn transfer(&self, frames: usize, progress: &mut Progress<'_>) {
        let mut bytes = vec![0; frames * SAMPLE * CHANNELS as usize];
        let at = GuestAddress(self.address.into());
        // Where there is no RAM there is silence.
        if !progress.plays {
            let _ = progress.memory.ram().write_slice(&bytes, at);
            return;
        }
        let _ = progress.memory.ram().read_slice(&mut bytes, at);
        if let Some(output) = &mut progress.output {
            let sample = |bytes: &[u8]| i16::from_le_bytes([bytes[0], bytes[1]]);
            let frames = bytes.chunks_exact(4);
            let frames: Vec<Frame> = frames
                .map(|bytes| [sample(&bytes[..2]), sample(&bytes[2..])])
                .collect();
            output.play(progress.rate, &frames);
        }
    }
}
