//! A TPM 2.0 behind the command response buffer interface (CRB), the commands of which somebody else does.
//! Spec: TCG PC Client Platform TPM Profile Specification for TPM 2.0, "Command Response Buffer Interface".
//!
//! Problem: a command may take seconds, whoever does it may have died or lie, and a vCPU is not to wait for
//! either. Choice: the interface is a page of registers with a buffer for one command, which becomes the buffer
//! of its answer. A write to the start register hands the command to a thread (`worker.rs`) and returns; the
//! register reads as 1 until the answer is there. What goes wrong on the way is an answer too: a failure code,
//! such as a chip that has failed its own test gives.
//!
//! Rejected: the FIFO interface (TIS), which all drivers know as well, but which is a state machine about each
//! byte; interrupts, since drivers of such TPMs poll; localities other than the first, which firmware and
//! operating systems use alone; and an end to commands under way, for whoever does them here reads nothing
//! meanwhile.

#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets are of a page, and lengths bounded"
)]

mod backend;
mod swtpm;
mod worker;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

pub use backend::{Backend, Blobs, FAILURE, TpmError};
pub use swtpm::Swtpm;

use crate::virtio::Doorbell;
use crate::{Device, DeviceState, RestoreError, decode_state, encode_state};
use worker::{Shared, Startup};

/// Where PCs have it.
pub const BASE: u64 = 0xfed4_0000;
pub const LEN: u64 = 0x1000;
/// What the TPM2 table calls the control area.
pub const CONTROL_AREA: u64 = BASE + CONTROL_REQUEST;

const KIND: &str = "tpm";
const VERSION: u16 = 1;

const LOCALITY_STATE: u64 = 0x00;
const LOCALITY_CONTROL: u64 = 0x08;
const LOCALITY_STATUS: u64 = 0x0c;
const INTERFACE: u64 = 0x30;
const VENDOR: u64 = 0x34;
const CONTROL_REQUEST: u64 = 0x40;
const STATUS: u64 = 0x44;
const CANCEL: u64 = 0x48;
const START: u64 = 0x4c;
const COMMAND_SIZE: u64 = 0x58;
const COMMAND_LOW: u64 = 0x5c;
const ANSWER_SIZE: u64 = 0x64;
const ANSWER_LOW: u64 = 0x68;
const BUFFER: u64 = 0x80;
/// For a command or an answer.
pub const BUFFER_LEN: usize = (LEN - BUFFER) as usize;

/// Nobody has asked for a dynamic root of trust since power-on. The bit says so by being set.
const NOT_ESTABLISHED: u32 = 1 << 0;
const ASSIGNED: u32 = 1 << 1;
const VALID: u32 = 1 << 7;
const REQUEST_ACCESS: u32 = 1 << 0;
const RELINQUISH: u32 = 1 << 1;
const COMMAND_READY: u32 = 1 << 0;
const GO_IDLE: u32 = 1 << 1;
const IDLE: u32 = 1 << 1;
/// It is a CRB of version 1 and has been chosen, there is no other; one locality, transfers of 64 bytes.
const IS_CRB: u32 = 1 << 0 | 1 << 4 | 3 << 11 | 1 << 14 | 1 << 17;
/// As other virtual TPMs say: IBM's, from whom libtpms is.
const VENDOR_ID: u32 = 0x1014;

/// What a guest sees of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    assigned: bool,
    idle: bool,
    cancel: bool,
    buffer: Vec<u8>,
}

impl Default for Registers {
    fn default() -> Registers {
        Registers {
            assigned: false,
            idle: true,
            cancel: false,
            buffer: vec![0; BUFFER_LEN],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TpmStateV1 {
    registers: Registers,
    /// Nothing, where whoever does the commands could not say.
    tpm: Option<Blobs>,
}

/// The device.
#[derive(Debug)]
pub struct Tpm {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Tpm {
    /// `backend` is at power-on.
    ///
    /// # Errors
    /// When the host has no thread or no descriptor left.
    pub fn new(backend: impl Backend + 'static) -> io::Result<Tpm> {
        let shared = Arc::new(Shared::new(Box::new(backend), Doorbell::new()?));
        let works = Arc::clone(&shared);
        let thread = threads::spawn(threads::Work::Device, "tpm", move || works.run())?;
        Ok(Tpm {
            shared,
            thread: Some(thread),
        })
    }

    /// The machine woke from a sleep in which the TPM lost what it does not keep: what firmware does then.
    pub fn wake(&self) {
        self.shared.state().startup = Startup::State;
        self.shared.changed();
    }

    /// Whether the state that was saved last has what the TPM holds. One without cannot be restored.
    ///
    /// # Errors
    /// When it has not: why.
    pub fn saved(&self) -> Result<(), TpmError> {
        self.shared.saved()
    }

    /// Waits until no command is under way: for tests.
    #[doc(hidden)]
    pub fn settle(&self) {
        let _ = self.shared.settle();
    }

    /// A register of 32 bits.
    fn register(&self, at: u64) -> u32 {
        let state = self.shared.state();
        let registers = &state.registers;
        let when = |set: bool, bit: u32| if set { bit } else { 0 };
        match at {
            LOCALITY_STATE => VALID | NOT_ESTABLISHED | when(registers.assigned, ASSIGNED),
            LOCALITY_STATUS => u32::from(registers.assigned),
            INTERFACE => IS_CRB,
            VENDOR => VENDOR_ID,
            STATUS => when(registers.idle, IDLE),
            CANCEL => registers.cancel.into(),
            START => state.started().into(),
            COMMAND_SIZE | ANSWER_SIZE => BUFFER_LEN as u32,
            // Below 4 GiB.
            COMMAND_LOW | ANSWER_LOW => (BASE + BUFFER) as u32,
            _ => 0,
        }
    }

    fn byte(&self, at: u64) -> u8 {
        if at < BUFFER {
            return self.register(at & !3).to_le_bytes()[(at & 3) as usize];
        }
        let state = self.shared.state();
        let byte = state.registers.buffer.get((at - BUFFER) as usize);
        // Neither a command nor an answer.
        byte.copied().filter(|_| !state.started()).unwrap_or(0xff)
    }

    fn fill(&self, at: u64, bytes: &[u8]) {
        let mut state = self.shared.state();
        let first = (at - BUFFER) as usize;
        let place = first..first + bytes.len();
        if !state.started()
            && let Some(room) = state.registers.buffer.get_mut(place)
        {
            room.copy_from_slice(bytes);
        }
    }

    fn set(&self, at: u64, value: u32) {
        let mut state = self.shared.state();
        let started = state.started();
        let registers = &mut state.registers;
        match at {
            LOCALITY_CONTROL if value & RELINQUISH != 0 => registers.assigned = false,
            LOCALITY_CONTROL if value & REQUEST_ACCESS != 0 => registers.assigned = true,
            CONTROL_REQUEST if started => {}
            CONTROL_REQUEST if value & COMMAND_READY != 0 => registers.idle = false,
            CONTROL_REQUEST if value & GO_IDLE != 0 => registers.idle = true,
            // Noted, and no more.
            CANCEL => registers.cancel = value & 1 != 0,
            START if value & 1 != 0 && !started && registers.assigned => {
                registers.cancel = false;
                state.start();
                drop(state);
                self.shared.changed();
            }
            _ => {}
        }
    }
}

impl Device for Tpm {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        // Wide reads cover several registers.
        (0..u64::from(size)).fold(0, |value, index| {
            value | u64::from(self.byte(offset + index)) << (8 * index)
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        if offset >= BUFFER {
            let bytes = value.to_le_bytes();
            self.fill(offset, &bytes[..usize::from(size.min(8))]);
        } else if offset & 3 == 0 {
            // All bits that do something are in the first byte, so narrow writes are as good.
            self.set(offset, value as u32);
        }
    }

    fn reset(&mut self) {
        let mut state = self.shared.state();
        state.registers = Registers::default();
        state.restart();
        drop(state);
        self.shared.changed();
    }

    fn save(&self) -> DeviceState {
        let (registers, tpm) = self.shared.save();
        encode_state(KIND, VERSION, &TpmStateV1 { registers, tpm })
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let saved: TpmStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.to_owned(),
            what,
        };
        if saved.registers.buffer.len() != BUFFER_LEN {
            return Err(damaged("its buffer has another size".to_owned()));
        }
        let blobs = saved.tpm.filter(Blobs::are_plausible).ok_or_else(|| {
            damaged("what the TPM holds could not be read when it was saved".to_owned())
        })?;
        let taken = self.shared.restore(saved.registers, &blobs);
        taken.map_err(|error| damaged(error.to_string()))
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // A panic was told already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
