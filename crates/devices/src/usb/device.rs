//! What every USB device is to its controller. Spec: USB 2.0, "USB Device Framework".

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::descriptors::Description;
use super::hid::HidState;
use super::storage::StorageState;

/// A request of the default pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) kind: u8,
    pub(super) request: u8,
    pub(super) value: u16,
    pub(super) index: u16,
    pub(super) length: u16,
}

impl Setup {
    pub(super) fn parse(bytes: [u8; 8]) -> Setup {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Setup {
            kind: bytes[0],
            request: bytes[1],
            value: half(2),
            index: half(4),
            length: half(6),
        }
    }

    pub(super) fn is_inward(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// What comes of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These bytes, no more than were asked for; or all was taken.
    Data(Vec<u8>),
    /// Nothing now: whoever asks is asked to come again.
    Wait,
    Stall,
}

/// What devices have in common.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Common {
    pub(super) configuration: u8,
    /// Endpoints that stall until they are cleared: IN in the upper half, by number.
    pub(super) halted: u32,
}

fn halt_bit(endpoint: u8) -> u32 {
    let number = u32::from(endpoint & 15);
    1 << (number + if endpoint & 0x80 != 0 { 16 } else { 0 })
}

impl Common {
    pub(super) fn is_halted(&self, endpoint: u8) -> bool {
        self.halted & halt_bit(endpoint) != 0
    }

    pub(super) fn halt(&mut self, endpoint: u8) {
        self.halted |= halt_bit(endpoint);
    }

    /// A standard request. `None` for others: the device's own.
    pub(super) fn standard(&mut self, setup: &Setup, description: &Description) -> Option<Answer> {
        const ENDPOINT_HALT: u16 = 0;
        let [low, high] = setup.value.to_le_bytes();
        let [endpoint, _] = setup.index.to_le_bytes();
        Some(match (setup.kind, setup.request) {
            // GET DESCRIPTOR of the device, GET CONFIGURATION, GET STATUS, GET INTERFACE
            (0x80, 6) => match description.find(high, low) {
                Some(bytes) => Answer::Data(bytes),
                None => Answer::Stall,
            },
            (0x80, 8) => Answer::Data(vec![self.configuration]),
            // It has power of its own.
            (0x80, 0) => Answer::Data(vec![1, 0]),
            (0x81, 0) => Answer::Data(vec![0, 0]),
            (0x82, 0) => Answer::Data(vec![u8::from(self.is_halted(endpoint)), 0]),
            (0x81, 10) => Answer::Data(vec![0]),
            (0x81, 6) => match description.of_interface(high) {
                Some(bytes) => Answer::Data(bytes),
                None => Answer::Stall,
            },
            // SET CONFIGURATION, SET INTERFACE
            (0x00, 9) if low <= 1 => {
                self.configuration = low;
                self.halted = 0;
                Answer::Data(Vec::new())
            }
            (0x01, 11) if setup.value == 0 => Answer::Data(Vec::new()),
            // CLEAR and SET FEATURE
            (0x02, 1) if setup.value == ENDPOINT_HALT => {
                self.halted &= !halt_bit(endpoint);
                Answer::Data(Vec::new())
            }
            (0x02, 3) if setup.value == ENDPOINT_HALT => {
                self.halt(endpoint);
                Answer::Data(Vec::new())
            }
            // It wakes nobody.
            (0x00, 1 | 3) => Answer::Data(Vec::new()),
            (kind, _) if kind & 0x60 == 0 => Answer::Stall,
            _ => return None,
        })
    }
}

/// A device's saved form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DeviceSaved {
    Hid(HidState),
    Storage(StorageState),
}

pub(super) trait UsbDevice: Send + Debug {
    fn description(&self) -> &Description;
    /// Back to what it is when it is plugged in.
    fn reset(&mut self);
    /// A request with what is to be written by it.
    fn control(&mut self, setup: &Setup, data: &[u8]) -> Answer;
    /// At most so many bytes of an endpoint.
    fn take(&mut self, endpoint: u8, most: usize) -> Answer;
    /// Bytes for an endpoint, all of which are taken or none.
    fn give(&mut self, endpoint: u8, data: &[u8]) -> Answer;
    /// Can the guest ask it for what it has to say? Told when it changes.
    fn is_asked(&self, _asked: bool) {}
    fn save(&self) -> DeviceSaved;
    /// Is it one of this device?
    fn fits(&self, saved: &DeviceSaved) -> bool;
    /// Of what fits.
    fn restore(&mut self, saved: &DeviceSaved);
}
