//! Frames between the port and its drive, as they lie in memory. Spec: Serial ATA 3.0, "Register", "PIO Setup", "Set
//! Device Bits"; AHCI 1.3.1, "Received FIS Structure".

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::port::PortState;

const HOST_TO_DEVICE: u8 = 0x27;
const REGISTERS: u8 = 0x34;
const SETUP: u8 = 0x5f;
const DEVICE_BITS: u8 = 0xa1;
/// Where each goes.
pub(super) const SETUP_AT: u64 = 0x20;
pub(super) const REGISTERS_AT: u64 = 0x40;
pub(super) const BITS_AT: u64 = 0x58;

const IS_COMMAND: u8 = 1 << 7;
const INTERRUPTS: u8 = 1 << 6;
const TO_HOST: u8 = 1 << 5;

/// What the host sends: a command, or a write of the control register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) is_command: bool,
    pub(super) command: u8,
    pub(super) features: u16,
    pub(super) lba: u64,
    pub(super) device: u8,
    pub(super) count: u16,
    pub(super) control: u8,
}

/// Bytes of a request.
pub(super) const REQUEST_LEN: usize = 20;

impl Request {
    /// `None` for a frame of another kind.
    pub(super) fn parse(bytes: &[u8; REQUEST_LEN]) -> Option<Request> {
        let b = bytes;
        (b[0] == HOST_TO_DEVICE).then(|| Request {
            is_command: b[1] & IS_COMMAND != 0,
            command: b[2],
            features: u16::from_le_bytes([b[3], b[11]]),
            lba: u64::from_le_bytes([b[4], b[5], b[6], b[8], b[9], b[10], 0, 0]),
            device: b[7],
            count: u16::from_le_bytes([b[12], b[13]]),
            control: b[15],
        })
    }
}

/// The registers of a drive, as it shows them after a command.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) status: u8,
    pub(super) error: u8,
    pub(super) lba: u64,
    pub(super) count: u16,
    pub(super) device: u8,
}

impl Task {
    /// All but the kind and what the frame's first bytes say.
    pub(super) fn bytes(self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        let lba = self.lba.to_le_bytes();
        bytes[2] = self.status;
        bytes[3] = self.error;
        bytes[4..7].copy_from_slice(&lba[..3]);
        bytes[7] = self.device;
        bytes[8..11].copy_from_slice(&lba[3..6]);
        bytes[12..14].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    pub(super) fn registers(self, interrupts: bool) -> [u8; REQUEST_LEN] {
        let mut bytes = self.bytes();
        bytes[0] = REGISTERS;
        bytes[1] = if interrupts { INTERRUPTS } else { 0 };
        bytes
    }

    /// What comes before `len` bytes by PIO to the host, after which the drive's status is `after`.
    pub(super) fn setup(self, len: u16, after: u8) -> [u8; REQUEST_LEN] {
        let mut bytes = self.bytes();
        bytes[0] = SETUP;
        bytes[1] = INTERRUPTS | TO_HOST;
        bytes[15] = after;
        bytes[16..18].copy_from_slice(&len.to_le_bytes());
        bytes
    }
}

/// Queued commands of these slots are done, or one of them failed.
pub(super) fn device_bits(status: u8, error: u8, done: u32) -> [u8; 8] {
    let mut bytes = [DEVICE_BITS, INTERRUPTS, status & 0x77, error, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&done.to_le_bytes());
    bytes
}

/// Lays a frame where the port receives them. Outside of memory it is lost.
pub(super) fn post(memory: &GuestMemory, state: &PortState, at: u64, frame: &[u8]) {
    if state.receives() {
        let at = GuestAddress(state.received.wrapping_add(at));
        let _ = memory.ram().write_slice(frame, at);
    }
}
