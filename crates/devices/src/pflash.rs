//! Flash that firmware keeps its variables in: Intel's command set, as virtual machines have it.
//!
//! Read as memory, it is memory: a vCPU finds the bytes without asking. Every write is a command and comes
//! here; while a command is under way the flash answers reads as well, with its status.
//! Spec: Intel StrataFlash 28F256J3 datasheet, "Command Definitions"; JEDEC JESD68, "Common Flash Interface".

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Device, DeviceState, RestoreError, decode_state, encode_state};

const KIND: &str = "pflash";
const VERSION: u16 = 1;
/// What is erased at once, in bytes.
pub const BLOCK: u64 = BLOCK_LEN as u64;
const BLOCK_LEN: usize = 4096;

const READY: u8 = 1 << 7;
const FAILED: u8 = 0b0011_0000;
const CONFIRM: u64 = 0xd0;
const MAKER: u8 = 0x89;
const PART: u8 = 0x18;
/// The most that one buffered write has. Words.
const LARGEST_BUFFER: u32 = 256;

/// The bytes.
pub trait FlashMemory: Send + Sync + Debug {
    /// vCPUs find the memory itself from now on, or, without, this device.
    fn show(&self, memory: bool);
    fn read(&self, offset: u64, into: &mut [u8]);
    /// Answers whether they could be kept.
    fn write(&self, offset: u64, bytes: &[u8]) -> bool;
}

/// What reads answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    #[default]
    Memory,
    Status,
    Identity,
}

/// What the next write is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Awaited {
    #[default]
    Command,
    Data,
    /// The confirmation that a block is to be erased.
    Erase,
    Lock,
    /// How many words follow, less one.
    Count,
    /// So many, and then the confirmation.
    Words(u32),
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PflashStateV1 {
    mode: Mode,
    awaited: Awaited,
    status: u8,
}

#[derive(Debug)]
pub struct Pflash {
    state: PflashStateV1,
    /// In bytes, whole blocks.
    len: u64,
    memory: Arc<dyn FlashMemory>,
}

impl Pflash {
    #[must_use]
    pub fn new(len: u64, memory: Arc<dyn FlashMemory>) -> Pflash {
        memory.show(true);
        Pflash {
            state: PflashStateV1 {
                status: READY,
                ..PflashStateV1::default()
            },
            len,
            memory,
        }
    }

    fn enter(&mut self, mode: Mode) {
        let before = std::mem::replace(&mut self.state.mode, mode);
        if (before == Mode::Memory) != (mode == Mode::Memory) {
            self.memory.show(mode == Mode::Memory);
        }
    }

    fn command(&mut self, value: u64) {
        let (mode, awaited) = match value & 0xff {
            0x10 | 0x40 => (Mode::Status, Awaited::Data),
            0x20 => (Mode::Status, Awaited::Erase),
            0x60 => (Mode::Status, Awaited::Lock),
            0xe8 => (Mode::Status, Awaited::Count),
            0x70 => (Mode::Status, Awaited::Command),
            0x90 => (Mode::Identity, Awaited::Command),
            0x50 => {
                self.state.status = 0;
                (Mode::Memory, Awaited::Command)
            }
            _ => (Mode::Memory, Awaited::Command),
        };
        self.state.awaited = awaited;
        if matches!(awaited, Awaited::Count) {
            self.state.status |= READY;
        }
        self.enter(mode);
    }

    /// Unlike flash, it sets bits as well as it clears them: drivers erase before they write.
    fn program(&mut self, offset: u64, size: u8, value: u64) {
        let bytes = value.to_le_bytes();
        let count = usize::from(size).min(bytes.len());
        let fits = offset.saturating_add(count as u64) <= self.len;
        let kept = fits && self.memory.write(offset, &bytes[..count]);
        self.end(kept);
    }

    fn erase(&mut self, offset: u64) {
        let block = offset / BLOCK * BLOCK;
        let blank = [0xff; BLOCK_LEN];
        let kept = block < self.len && self.memory.write(block, &blank);
        self.end(kept);
    }

    fn end(&mut self, kept: bool) {
        self.state.status |= if kept { READY } else { READY | FAILED };
    }
}

impl Device for Pflash {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let repeated = |byte: u8| u64::from_le_bytes([byte; 8]);
        match self.state.mode {
            Mode::Memory => {
                let mut bytes = [0xff; 8];
                let count = usize::from(size).min(bytes.len());
                if offset.saturating_add(count as u64) <= self.len {
                    self.memory.read(offset, &mut bytes[..count]);
                }
                u64::from_le_bytes(bytes)
            }
            Mode::Status => repeated(self.state.status),
            Mode::Identity => match offset & 0xff {
                0 => repeated(MAKER),
                1 => repeated(PART),
                _ => 0,
            },
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match self.state.awaited {
            Awaited::Command => self.command(value),
            Awaited::Data => {
                self.state.awaited = Awaited::Command;
                self.program(offset, size, value);
            }
            Awaited::Erase if value & 0xff == CONFIRM => {
                self.state.awaited = Awaited::Command;
                self.erase(offset);
            }
            Awaited::Lock if value & 0xff != 0xff => {
                self.state.awaited = Awaited::Command;
                self.end(true);
            }
            Awaited::Erase | Awaited::Lock => self.command(0xff),
            Awaited::Count => {
                let words = u32::try_from(value & 0xffff).unwrap_or(0) + 1;
                self.state.awaited = Awaited::Words(words.min(LARGEST_BUFFER));
            }
            Awaited::Words(0) if value & 0xff == CONFIRM => {
                self.state.awaited = Awaited::Command;
                self.end(true);
            }
            Awaited::Words(0) => self.command(0xff),
            Awaited::Words(left) => {
                self.state.awaited = Awaited::Words(left - 1);
                self.program(offset, size, value);
            }
        }
    }

    fn reset(&mut self) {
        self.state = PflashStateV1 {
            mode: self.state.mode,
            awaited: Awaited::Command,
            status: READY,
        };
        self.enter(Mode::Memory);
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: PflashStateV1 = decode_state(KIND, VERSION, state)?;
        self.enter(state.mode);
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
