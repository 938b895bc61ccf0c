//! Ethernet cards of the old world, for systems that know no virtio: e1000 and RTL8139.
//!
//! Problem: each card has registers and rings of its own, and all of them are the same beyond: frames go
//! between guest memory and a [`netio::Link`], an interrupt says so. Choice: what is special of a card is an
//! [`Adapter`], plain state behind one lock; one thread a card moves frames in batches, as for virtio. Frames
//! to the guest are pulled from the link when there are buffers. A vCPU that touches a register waits for at
//! most a batch. Rejected: to send on the vCPU that rings (its system calls would be the guest's time).

mod card;
mod e1000;
mod eeprom;
mod mii;
mod rtl8139;
mod serving;

pub use card::CardOptions;
pub use e1000::E1000Card;
pub use rtl8139::Rtl8139Card;

use std::fmt::Debug;

use memory::GuestMemory;
use netio::OffloadHeader;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pci::ConfigSpace;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of the shortest frame on a wire, without its check sequence.
const SHORTEST: usize = 60;

/// What became of the guest's wish to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There is nothing to send.
    Nothing,
    /// A descriptor was used up, and the frame goes on in the next.
    Part,
    /// The buffer has a frame, of which this is left to do.
    Frame(OffloadHeader),
}

/// What became of a frame for the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The guest has it, or will never have it.
    Done,
    /// There are no buffers now. The driver will tell of some.
    NoRoom,
}

/// What is special of a card.
pub(crate) trait Adapter: Send + Debug + 'static {
    const KIND: &'static str;
    const VERSION: u16;
    type State: Serialize + DeserializeOwned;

    fn new(mac: Mac) -> Self;
    /// Identity and regions.
    fn configuration() -> ConfigSpace;
    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64;
    /// Answers whether there may be something to send or to receive now.
    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) -> bool;
    /// Is an interrupt pending that the driver wants?
    fn interrupts(&self) -> bool;
    /// Uses up the next descriptor; a whole frame is in `frame` then.
    fn send(&mut self, memory: &GuestMemory, frame: &mut Vec<u8>) -> Sent;
    /// Gives the guest a frame. `valid` says that its checksums are right.
    fn receive(&mut self, memory: &GuestMemory, frame: &[u8], valid: bool) -> Received;
    fn reset(&mut self);
    fn save(&self) -> Self::State;
    /// # Errors
    /// With a reason, when no card is in this state. Nothing is changed then.
    fn restore(&mut self, state: Self::State) -> Result<(), String>;
}

/// Lengthens a frame to what a wire carries.
fn pad(frame: &mut Vec<u8>) {
    if frame.len() < SHORTEST {
        frame.resize(SHORTEST, 0);
    }
}

/// The upper six bits of an address's CRC, by which cards look up groups.
fn group_hash(address: Mac) -> u8 {
    let mut crc = u32::MAX;
    for byte in address {
        for bit in 0..8 {
            let carry = (crc >> 31) ^ u32::from(byte >> bit & 1);
            crc <<= 1;
            if carry != 0 {
                crc ^= 0x04c1_1db7;
            }
        }
    }
    crc.to_be_bytes()[0] >> 2
}

#[cfg(test)]
mod tests;
