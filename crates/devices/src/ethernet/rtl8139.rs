//! Realtek's RTL8139C: four frames to send, and a ring of bytes to receive into.
//! Spec: RTL8139C(L) datasheet, "Register Descriptions", "Transmit Status Register", "Functional Description".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are bytes of wider values"
)]

mod receive;
mod registers;

use memory::GuestMemory;
use netio::OffloadHeader;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::card::EthernetCard;
use super::eeprom::{Microwire, WORDS, Wires};
use super::mii::Phy;
use super::{Adapter, Mac, Received, Sent, pad};
use crate::pci::{BarKind, ConfigSpace, Identity};
use crate::ports::all_ones;
use registers as reg;

const KIND: &str = "rtl8139";
const VERSION: u16 = 1;
const VENDOR: u16 = 0x10ec;
const DEVICE: u16 = 0x8139;
const IDENTITY: Identity = Identity {
    vendor: VENDOR,
    device: DEVICE,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    // Network controller, Ethernet.
    class: 0x02_00_00,
    // From 20h on it would be an 8139C+, which has other rings.
    revision: 0x10,
};
const LEN: u64 = 256;

/// Bytes of the longest frame that is sent.
const LONGEST_SENT: u32 = 1792;
/// The chip's own PHY, which has no identifier.
const PHY_IDENTIFIER: u32 = 0;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    id: Mac,
    groups: [u8; 8],
    sent: [u32; 4],
    places: [u32; 4],
    /// The descriptor that is sent next.
    next: u8,
    buffer: u32,
    command: u8,
    /// Where the driver reads, less 16.
    read: u16,
    written: u16,
    mask: u16,
    causes: u16,
    transmit: u32,
    receive: u32,
    eeprom_control: u8,
    microwire: Microwire,
    settings: [u8; reg::SETTINGS],
    phy: Phy,
}

impl State {
    fn power_on(mac: Mac) -> State {
        State {
            id: mac,
            groups: [0; 8],
            sent: [reg::SENT_OWN; 4],
            places: [0; 4],
            next: 0,
            buffer: 0,
            command: 0,
            read: reg::READ_AT_RESET,
            written: 0,
            mask: 0,
            causes: 0,
            transmit: 0,
            receive: 0,
            eeprom_control: 0,
            microwire: Microwire::default(),
            settings: [0; reg::SETTINGS],
            phy: Phy::new(PHY_IDENTIFIER, false),
        }
    }
}

#[derive(Debug)]
pub struct Rtl8139 {
    mac: Mac,
    eeprom: [u16; WORDS],
    state: State,
}

/// The card on the PCI bus.
pub type Rtl8139Card = EthernetCard<Rtl8139>;

fn eeprom(mac: Mac) -> [u16; WORDS] {
    let mut words = [0; WORDS];
    words[..5].copy_from_slice(&[0x8129, VENDOR, DEVICE, VENDOR, DEVICE]);
    for (word, pair) in words[7..].iter_mut().zip(mac.chunks_exact(2)) {
        *word = u16::from_le_bytes([pair[0], pair[1]]);
    }
    words
}

impl Rtl8139 {
    /// The byte at `at`. Nothing changes by reading.
    fn byte(&self, at: u64) -> u8 {
        let state = &self.state;
        let entry = |list: &[u32; 4]| list[(at >> 2 & 3) as usize].to_le_bytes()[(at & 3) as usize];
        let of = |value: u32| value.to_le_bytes()[(at & 3) as usize];
        let half = |value: u16| value.to_le_bytes()[(at & 1) as usize];
        match at {
            0..6 => state.id[at as usize],
            reg::GROUPS..0x10 => state.groups[(at & 7) as usize],
            reg::SENT..0x20 => entry(&state.sent),
            reg::PLACES..0x30 => entry(&state.places),
            reg::BUFFER..0x34 => of(state.buffer),
            reg::COMMAND => self.command(),
            reg::READ..0x3a => half(state.read),
            reg::WRITTEN..0x3c => half(state.written),
            reg::MASK..0x3e => half(state.mask),
            reg::CAUSES..0x40 => half(state.causes),
            reg::TRANSMIT..0x44 => of(state.transmit | reg::TRANSMIT_REVISION),
            reg::RECEIVE..0x48 => of(state.receive),
            reg::EEPROM => {
                let output = u8::from(state.microwire.output());
                state.eeprom_control & !reg::EEPROM_DO | output
            }
            reg::MEDIUM => reg::MEDIUM_UP,
            reg::FIRST_SETTING..0x5b => state.settings[(at - reg::FIRST_SETTING) as usize],
            reg::SUMMARY..0x62 => half(self.summary()),
            reg::PHY_CONTROL..0x6c => {
                let register = reg::PHY_REGISTERS[((at - reg::PHY_CONTROL) / 2) as usize];
                half(state.phy.read(register))
            }
            _ => 0,
        }
    }

    fn command(&self) -> u8 {
        let empty = u8::from(self.state.is_empty());
        self.state.command & (reg::COMMAND_SEND | reg::COMMAND_RECEIVE) | empty
    }

    /// What became of each frame, in one register.
    fn summary(&self) -> u16 {
        let all = self.state.sent.iter().enumerate();
        all.fold(0, |summary, (index, sent)| {
            let own = u16::from(sent & reg::SENT_OWN != 0) << index;
            let well = u16::from(sent & reg::SENT_WELL != 0) << (12 + index);
            summary | own | well
        })
    }

    /// Of the register that begins at `at`, the bits of `mask` are written.
    fn store(&mut self, at: u64, value: u32, mask: u32) -> bool {
        let state = &mut self.state;
        let merged = |old: u32| old & !mask | value & mask;
        let half = |old: u16| merged(old.into()) as u16;
        match at {
            0..6 => state.id[at as usize] = value as u8,
            reg::GROUPS..0x10 => state.groups[(at & 7) as usize] = value as u8,
            reg::SENT..0x20 => {
                let sent = &mut state.sent[(at >> 2 & 3) as usize];
                *sent = merged(*sent) & reg::SENT_WRITABLE;
                return true;
            }
            reg::PLACES..0x30 => {
                let place = &mut state.places[(at >> 2 & 3) as usize];
                *place = merged(*place);
            }
            reg::BUFFER => {
                state.buffer = merged(state.buffer);
                state.written = 0;
                state.read = reg::READ_AT_RESET;
            }
            reg::COMMAND if value as u8 & reg::COMMAND_RESET != 0 => self.soft_reset(),
            reg::COMMAND => {
                state.command = value as u8;
                // Whoever switches the transmitter off begins with the first descriptor again: iPXE
                // does so without a reset when it opens the card for another program.
                if state.command & reg::COMMAND_SEND == 0 {
                    state.next = 0;
                }
                return true;
            }
            reg::READ => {
                state.read = half(state.read);
                return true;
            }
            reg::MASK => state.mask = half(state.mask),
            reg::CAUSES => {
                state.causes &= !((value & mask) as u16);
                // Linux acknowledges after each frame, and may leave more of them for another time: of
                // these it would never hear where frames come in at the pace that it has for them.
                if !state.is_empty() {
                    state.causes |= reg::CAUSE_RECEIVED;
                }
            }
            reg::TRANSMIT => state.transmit = merged(state.transmit) & reg::TRANSMIT_WRITABLE,
            reg::RECEIVE => {
                state.receive = merged(state.receive) & reg::RECEIVE_WRITABLE;
                return true;
            }
            reg::EEPROM => self.set_eeprom(value as u8),
            reg::FIRST_SETTING..0x5b => {
                state.settings[(at - reg::FIRST_SETTING) as usize] = value as u8;
            }
            reg::PHY_CONTROL | reg::PHY_ADVERTISED => {
                let register = reg::PHY_REGISTERS[((at - reg::PHY_CONTROL) / 2) as usize];
                let value = half(state.phy.read(register));
                state.phy.write(register, value);
            }
            _ => {}
        }
        false
    }

    fn set_eeprom(&mut self, value: u8) {
        let state = &mut self.state;
        state.eeprom_control = value;
        let by_wire = value & reg::EEPROM_MODE == reg::EEPROM_BY_WIRE;
        let wires = Wires {
            select: by_wire && value & reg::EEPROM_CS != 0,
            clock: value & reg::EEPROM_SK != 0,
            data: value & reg::EEPROM_DI != 0,
        };
        state.microwire.set(wires, &self.eeprom);
        if value & reg::EEPROM_MODE == reg::EEPROM_LOAD {
            state.id = self.mac;
            state.eeprom_control = 0;
        }
    }

    /// Address, groups and settings stay.
    fn soft_reset(&mut self) {
        let old = &self.state;
        self.state = State {
            id: old.id,
            groups: old.groups,
            settings: old.settings,
            phy: old.phy.clone(),
            ..State::power_on(self.mac)
        };
    }
}

impl Adapter for Rtl8139 {
    const KIND: &'static str = KIND;
    const VERSION: u16 = VERSION;
    type State = State;

    fn new(mac: Mac) -> Rtl8139 {
        Rtl8139 {
            mac,
            eeprom: eeprom(mac),
            state: State::power_on(mac),
        }
    }

    fn configuration() -> ConfigSpace {
        ConfigSpace::new(&IDENTITY)
            .with_bar(0, BarKind::Io, LEN)
            .with_bar(1, BarKind::Memory32, LEN)
    }

    fn read(&mut self, _bar: u8, offset: u64, size: u8) -> u64 {
        crate::ports::read_bytes(offset, size, |at| self.byte(at))
    }

    fn write(&mut self, _bar: u8, offset: u64, size: u8, value: u64) -> bool {
        let value = value & all_ones(size);
        let end = offset + u64::from(size);
        let mut work = false;
        for (at, len) in reg::SPANS {
            if at >= end || at + len <= offset {
                continue;
            }
            // Bits of the access, as the register has them.
            let (written, ones) = (u128::from(value), u128::from(all_ones(size)));
            let (value, mask) = if offset >= at {
                let shift = 8 * (offset - at);
                ((written << shift) as u32, (ones << shift) as u32)
            } else {
                let shift = 8 * (at - offset);
                ((written >> shift) as u32, (ones >> shift) as u32)
            };
            let own = all_ones(len as u8) as u32;
            work |= self.store(at, value & own, mask & own);
        }
        work
    }

    fn interrupts(&self) -> bool {
        self.state.causes & self.state.mask != 0
    }

    fn send(&mut self, memory: &GuestMemory, frame: &mut Vec<u8>) -> Sent {
        let state = &mut self.state;
        let index = usize::from(state.next & 3);
        let sent = state.sent[index];
        if state.command & reg::COMMAND_SEND == 0 || sent & reg::SENT_OWN != 0 {
            return Sent::Nothing;
        }
        state.next = (state.next + 1) & 3;
        state.sent[index] |= reg::SENT_OWN | reg::SENT_WELL;
        state.causes |= reg::CAUSE_SENT;
        let len = sent & reg::SENT_LEN;
        if !(14..=LONGEST_SENT).contains(&len) {
            return Sent::Part;
        }
        frame.clear();
        frame.resize(len as usize, 0);
        // Where there is no RAM there are zeros.
        let from = GuestAddress(state.places[index].into());
        let _ = memory.ram().read_slice(frame, from);
        pad(frame);
        Sent::Frame(OffloadHeader::default())
    }

    fn receive(&mut self, memory: &GuestMemory, frame: &[u8], _valid: bool) -> Received {
        self.state.put(memory, frame)
    }

    fn reset(&mut self) {
        self.state = State::power_on(self.mac);
    }

    fn save(&self) -> State {
        self.state.clone()
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        if !state.phy.is_like(&self.state.phy) {
            return Err("another PHY".into());
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
