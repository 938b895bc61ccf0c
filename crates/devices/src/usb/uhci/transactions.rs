//! Packets: from a transfer descriptor to a device, and back. Spec: UHCI Design Guide 1.1, "Transfer Descriptor (TD)".

use vm_memory::{Bytes, GuestAddress};

use super::Uhci;
use super::registers::Fatal;
use crate::usb::device::Answer;

/// In the control word: bytes that were moved; how it went; it interrupts; nobody acknowledges it; its device is slow; how
/// many errors it bears; a short packet stops its queue.
const LENGTH: u32 = 0x7ff;
const TIMED_OUT: u32 = 1 << 18;
const REFUSED: u32 = 1 << 19;
const BABBLED: u32 = 1 << 20;
const STALLED: u32 = 1 << 22;
const ACTIVE: u32 = 1 << 23;
const INTERRUPTS: u32 = 1 << 24;
const ISOCHRONOUS: u32 = 1 << 25;
const SLOW: u32 = 1 << 26;
const ERRORS: u32 = 3 << 27;
const ONE_ERROR: u32 = 1 << 27;
const SHORT_STOPS: u32 = 1 << 29;
const OUTCOME: u32 = 0x7f << 17;

/// Kinds of packets.
const IN: u8 = 0x69;
const OUT: u8 = 0xe1;
const SETUP: u8 = 0x2d;

/// Bytes of a packet at most, as the controller knows them.
const MOST: usize = 0x500;

/// A descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    pub(super) at: u64,
    pub(super) link: u32,
    pub(super) control: u32,
    pub(super) token: u32,
    pub(super) buffer: u32,
}

impl Transfer {
    fn has(&self, bit: u32) -> bool {
        self.control & bit != 0
    }

    fn kind(&self) -> u8 {
        self.token.to_le_bytes()[0]
    }

    fn address(&self) -> u8 {
        (self.token >> 8 & 0x7f).to_le_bytes()[0]
    }

    fn endpoint(&self) -> u8 {
        (self.token >> 15 & 0xf).to_le_bytes()[0]
    }

    /// Bytes that are to be moved: one more than the field says, whose highest value is nothing.
    fn len(&self) -> usize {
        ((self.token >> 21) + 1) as usize & 0x7ff
    }
}

/// What a device says to a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Data(Vec<u8>),
    Taken,
    Wait,
    Stall,
    /// It has not heard it, or there is none.
    Silence,
}

/// What came of a transfer's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nothing to be done.
    Idle,
    /// It is tried again.
    Waits,
    /// As that, but not for ever.
    Missed,
    /// It is done, and the next one of its queue has its turn.
    Done,
    /// It is done, and its queue stands still.
    Stopped,
}

impl Uhci {
    /// One packet of a transfer, which is in a queue or alone.
    pub(super) fn run_transfer(&mut self, it: &Transfer, queued: bool) -> Result<Turn, Fatal> {
        if !it.has(ACTIVE) {
            return Ok(Turn::Idle);
        }
        if it.len() > MOST || !matches!(it.kind(), IN | OUT | SETUP) {
            return Err(Fatal::Process);
        }
        let reply = self.exchange(it)?;
        let mut control = it.control & !(OUTCOME | LENGTH);
        let turn = match reply {
            Reply::Data(packet) if packet.len() > it.len() => {
                control |= STALLED | BABBLED | moved(0);
                Turn::Stopped
            }
            Reply::Data(packet) => {
                let at = GuestAddress(it.buffer.into());
                let written = self.memory.ram().write_slice(&packet, at);
                written.map_err(|_| Fatal::System)?;
                control |= moved(packet.len());
                if packet.len() < it.len() && it.has(SHORT_STOPS) && queued {
                    self.registers.fall_short();
                    Turn::Stopped
                } else {
                    Turn::Done
                }
            }
            Reply::Taken => {
                control |= moved(it.len());
                Turn::Done
            }
            Reply::Stall => {
                control |= STALLED | moved(0);
                Turn::Stopped
            }
            // What nobody acknowledges is not tried again.
            Reply::Wait | Reply::Silence if it.has(ISOCHRONOUS) => {
                control |= TIMED_OUT | moved(0);
                Turn::Done
            }
            Reply::Wait => {
                control |= ACTIVE | REFUSED | moved(0);
                Turn::Waits
            }
            Reply::Silence => {
                control |= TIMED_OUT | moved(0);
                match control & ERRORS {
                    // The driver has put no bound.
                    0 => {
                        control |= ACTIVE;
                        Turn::Waits
                    }
                    ONE_ERROR => {
                        control = (control - ONE_ERROR) | STALLED;
                        Turn::Stopped
                    }
                    _ => {
                        control = (control - ONE_ERROR) | ACTIVE;
                        Turn::Missed
                    }
                }
            }
        };
        if control & STALLED != 0 {
            self.registers.err();
        }
        if control & (ACTIVE | INTERRUPTS) == INTERRUPTS {
            self.registers.complete();
        }
        // A device that has nothing to say leaves no trace in memory each time that it is asked.
        if control != it.control {
            self.write(it.at + 4, control)?;
        }
        Ok(turn)
    }

    fn exchange(&mut self, it: &Transfer) -> Result<Reply, Fatal> {
        let mut packet = vec![0; if it.kind() == IN { 0 } else { it.len() }];
        let at = GuestAddress(it.buffer.into());
        let read = self.memory.ram().read_slice(&mut packet, at);
        read.map_err(|_| Fatal::System)?;
        let heard = |port: &super::Port| {
            port.is_open() && port.address == it.address() && port.is_slow() == it.has(SLOW)
        };
        let found = self.ports.iter().position(heard);
        let Some((port, device)) = found.and_then(|index| {
            let device = self.devices.get_mut(index)?;
            Some((&mut self.ports[index], device.as_mut()))
        }) else {
            return Ok(Reply::Silence);
        };
        let endpoint = it.endpoint() | if it.kind() == IN { 0x80 } else { 0 };
        let Some(largest) = device.description().largest(endpoint) else {
            return Ok(Reply::Silence);
        };
        Ok(match (it.kind(), endpoint & 0xf) {
            _ if packet.len() > largest => Reply::Silence,
            (SETUP, 0) => match packet.try_into() {
                Ok(setup) => {
                    port.pipe.set_up(setup);
                    Reply::Taken
                }
                Err(_) => Reply::Silence,
            },
            (SETUP, _) => Reply::Silence,
            (IN, 0) => port.pipe.take(device, &mut port.address, largest),
            (_, 0) => port.pipe.give(&packet),
            (IN, _) => match device.take(endpoint, largest) {
                Answer::Data(packet) => Reply::Data(packet),
                Answer::Wait => Reply::Wait,
                Answer::Stall => Reply::Stall,
            },
            _ => match device.give(endpoint, &packet) {
                Answer::Data(_) => Reply::Taken,
                Answer::Wait => Reply::Wait,
                Answer::Stall => Reply::Stall,
            },
        })
    }
}

/// As the control word has a length: one less, and nothing is the highest value.
#[allow(clippy::cast_possible_truncation, reason = "packets are short")]
fn moved(len: usize) -> u32 {
    (len as u32).wrapping_sub(1) & LENGTH
}
