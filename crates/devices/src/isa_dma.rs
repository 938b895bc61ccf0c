//! ISA's DMA: two 8237A controllers with their page registers.
//!
//! Devices of the ISA bus that want memory ask a [`DmaChannel`]; what the guest wrote to the controller says
//! where, how much and which way. Channels 0 to 3 move bytes; 4 to 7, of which 4 joins the two, words.
//! Spec: Intel 8237A datasheet; Intel 82371SB (PIIX3) datasheet, "DMA Controller".
#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are bytes of addresses and counts"
)]

use std::sync::{Arc, Mutex};

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use crate::ports::{locked, read_bytes, write_bytes};
use crate::{Device, DeviceState, PortRange, RestoreError, decode_state, encode_state};

/// Both controllers and the page registers.
pub const PORTS: [PortRange; 4] = [
    PortRange {
        first: 0x00,
        count: 16,
        offset: 0,
    },
    PortRange {
        first: 0xc0,
        count: 32,
        offset: SECOND,
    },
    PortRange {
        first: 0x81,
        count: 3,
        offset: PAGES + 1,
    },
    PortRange {
        first: 0x87,
        count: 9,
        offset: PAGES + 7,
    },
];
const SECOND: u64 = 0x20;
const PAGES: u64 = 0x40;

const KIND: &str = "isa-dma";
const VERSION: u16 = 1;

/// In a channel's mode.
const AUTO: u8 = 1 << 4;
const DOWN: u8 = 1 << 5;
const KIND_MASK: u8 = 0b1100;
const TO_MEMORY: u8 = 0b0100;
const FROM_MEMORY: u8 = 0b1000;
const DISABLED: u8 = 1 << 2;

/// Channels from here on move words.
const FIRST_WIDE: u8 = 4;

/// Which channel each page register, from 0x80 on, belongs to.
const PAGE_CHANNELS: [Option<u8>; 16] = [
    None,
    Some(2),
    Some(3),
    Some(1),
    None,
    None,
    None,
    Some(0),
    None,
    Some(6),
    Some(7),
    Some(5),
    None,
    None,
    None,
    Some(4),
];

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ChannelState {
    base: u16,
    base_count: u16,
    address: u16,
    count: u16,
    mode: u8,
    page: u8,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ControllerState {
    channels: [ChannelState; 4],
    command: u8,
    /// One bit a channel: it does nothing.
    mask: u8,
    /// One bit a channel: it has come to the end of its count. Cleared by reading.
    ended: u8,
    requests: u8,
    /// The next byte of an address or a count is its upper one.
    upper: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IsaDmaStateV1 {
    controllers: [ControllerState; 2],
    /// Page registers that belong to no channel are memory.
    pages: [u8; 16],
}

#[derive(Debug)]
pub struct IsaDma {
    state: IsaDmaStateV1,
}

impl ControllerState {
    fn power_on() -> ControllerState {
        ControllerState {
            mask: 0xf,
            ..ControllerState::default()
        }
    }

    /// Addresses and counts go by halves, the lower one first.
    fn next_is_upper(&mut self) -> bool {
        let upper = self.upper;
        self.upper = !upper;
        upper
    }

    fn read(&mut self, register: u64) -> u8 {
        match register {
            0..=7 => {
                let upper = self.next_is_upper();
                let channel = &self.channels[(register / 2) as usize];
                let value = if register.is_multiple_of(2) {
                    channel.address
                } else {
                    channel.count
                };
                value.to_le_bytes()[usize::from(upper)]
            }
            8 => std::mem::take(&mut self.ended) | self.requests << 4,
            0xf => self.mask | 0xf0,
            _ => 0xff,
        }
    }

    fn write(&mut self, register: u64, value: u8) {
        let bit = 1 << (value & 3);
        match register {
            0..=7 => self.write_channel(register, value),
            8 => self.command = value,
            9 if value & 4 != 0 => self.requests |= bit,
            9 => self.requests &= !bit,
            0xa if value & 4 != 0 => self.mask |= bit,
            0xa => self.mask &= !bit,
            0xb => self.channels[usize::from(value & 3)].mode = value & 0xfc,
            0xc => self.upper = false,
            0xd => {
                let channels = self.channels;
                *self = ControllerState {
                    channels,
                    ..ControllerState::power_on()
                };
            }
            0xe => self.mask = 0,
            _ => self.mask = value & 0xf,
        }
    }

    fn write_channel(&mut self, register: u64, value: u8) {
        let upper = self.next_is_upper();
        let channel = &mut self.channels[(register / 2) as usize];
        let (base, current) = if register.is_multiple_of(2) {
            (&mut channel.base, &mut channel.address)
        } else {
            (&mut channel.base_count, &mut channel.count)
        };
        let mut bytes = base.to_le_bytes();
        bytes[usize::from(upper)] = value;
        *base = u16::from_le_bytes(bytes);
        *current = *base;
    }
}

impl IsaDma {
    #[must_use]
    pub fn new() -> IsaDma {
        IsaDma {
            state: IsaDmaStateV1 {
                controllers: [ControllerState::power_on(), ControllerState::power_on()],
                pages: [0; 16],
            },
        }
    }

    fn byte(&mut self, offset: u64) -> u8 {
        match offset {
            PAGES.. => {
                let index = (offset & 0xf) as usize;
                match PAGE_CHANNELS[index] {
                    Some(channel) => self.channel(channel).page,
                    None => self.state.pages[index],
                }
            }
            // Its registers are words apart.
            SECOND.. => self.state.controllers[1].read((offset - SECOND) / 2),
            _ => self.state.controllers[0].read(offset & 0xf),
        }
    }

    fn put(&mut self, offset: u64, value: u8) {
        match offset {
            PAGES.. => {
                let index = (offset & 0xf) as usize;
                match PAGE_CHANNELS[index] {
                    Some(channel) => self.channel(channel).page = value,
                    None => self.state.pages[index] = value,
                }
            }
            SECOND.. => self.state.controllers[1].write((offset - SECOND) / 2, value),
            _ => self.state.controllers[0].write(offset & 0xf, value),
        }
    }

    fn channel(&mut self, channel: u8) -> &mut ChannelState {
        &mut self.state.controllers[usize::from(channel >> 2 & 1)].channels
            [usize::from(channel & 3)]
    }

    /// Moves up to `len` bytes between memory and a device on `channel`, whole words on those from 5 on. `with`
    /// gets the address and how many; answers how many were moved and whether the count has come to its end.
    /// Nothing where the guest has the channel masked or going the other way.
    fn transfer(
        &mut self,
        channel: u8,
        kind: u8,
        len: usize,
        mut with: impl FnMut(u64, usize),
    ) -> (usize, bool) {
        let unit: usize = if channel < FIRST_WIDE { 1 } else { 2 };
        let controller = &mut self.state.controllers[usize::from(channel >> 2 & 1)];
        let bit = 1 << (channel & 3);
        let state = &mut controller.channels[usize::from(channel & 3)];
        let idle = controller.mask & bit != 0 || controller.command & DISABLED != 0;
        if idle || state.mode & KIND_MASK != kind || state.mode & DOWN != 0 {
            return (0, false);
        }
        // A count is one less than the units; addresses wrap within their page of 64 Ki units.
        let count = (len / unit).min(usize::from(state.count) + 1);
        let page = (u64::from(state.page) << 16) & !(unit as u64 * 0x1_0000 - 1);
        let before_wrap = (0x1_0000 - usize::from(state.address)).min(count);
        with(
            page | (u64::from(state.address) * unit as u64),
            before_wrap * unit,
        );
        if before_wrap < count {
            with(page, (count - before_wrap) * unit);
        }
        let ended = count == usize::from(state.count) + 1;
        state.address = state.address.wrapping_add(count as u16);
        state.count = state.count.wrapping_sub(count as u16);
        if ended {
            controller.ended |= bit;
            if state.mode & AUTO != 0 {
                state.address = state.base;
                state.count = state.base_count;
            } else {
                controller.mask |= bit;
            }
        }
        (count * unit, ended)
    }
}

impl Default for IsaDma {
    fn default() -> IsaDma {
        IsaDma::new()
    }
}

/// A device's end of a channel: an 8-bit one, 0 to 3, or a 16-bit one, 5 to 7.
#[derive(Debug, Clone)]
pub struct DmaChannel {
    controller: Arc<Mutex<IsaDma>>,
    channel: u8,
    memory: GuestMemory,
}

impl DmaChannel {
    #[must_use]
    pub fn new(controller: Arc<Mutex<IsaDma>>, channel: u8, memory: GuestMemory) -> DmaChannel {
        DmaChannel {
            controller,
            channel,
            memory,
        }
    }

    /// Gives bytes to memory. Answers how many it took, and whether that was the last of its count.
    #[must_use]
    pub fn give(&self, bytes: &[u8]) -> (usize, bool) {
        let mut done = 0;
        let mut controller = locked(&self.controller);
        controller.transfer(self.channel, TO_MEMORY, bytes.len(), |at, count| {
            // Where there is no RAM, nothing hears it.
            let _ = self
                .memory
                .ram()
                .write_slice(&bytes[done..done + count], GuestAddress(at));
            done += count;
        })
    }

    /// Takes bytes from memory likewise.
    #[must_use]
    pub fn take(&self, into: &mut [u8]) -> (usize, bool) {
        let mut done = 0;
        let len = into.len();
        let mut controller = locked(&self.controller);
        controller.transfer(self.channel, FROM_MEMORY, len, |at, count| {
            let part = &mut into[done..done + count];
            if self
                .memory
                .ram()
                .read_slice(part, GuestAddress(at))
                .is_err()
            {
                part.fill(0xff);
            }
            done += count;
        })
    }
}

impl Device for IsaDma {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| self.byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.put(at, byte));
    }

    fn reset(&mut self) {
        *self = IsaDma::new();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_state(KIND, VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
