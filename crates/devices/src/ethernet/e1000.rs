//! Intel's 82540EM, which everything knows as e1000: gigabit, with checksums and segmentation left to it.
//!
//! What is there is what drivers use: legacy and extended transmit descriptors, legacy receive descriptors,
//! filters, tags of VLANs, the EEPROM by its register and by its wires, the PHY. Interrupts are not delayed:
//! frames come in batches as it is.
//! Spec: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual.

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are halves and fields of wider values"
)]

mod filter;
mod offload;
mod receive;
mod registers;
mod state;
mod transmit;

use memory::GuestMemory;

use super::card::EthernetCard;
use super::eeprom::{WORDS, Wires};
use super::{Adapter, Mac, Received, Sent};
use crate::pci::{BarKind, ConfigSpace, Identity};
use registers as reg;
use state::State;

const KIND: &str = "e1000";
const VERSION: u16 = 1;
const DEVICE: u16 = 0x100e;
const VENDOR: u16 = 0x8086;
const IDENTITY: Identity = Identity {
    vendor: VENDOR,
    device: DEVICE,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    // Network controller, Ethernet.
    class: 0x02_00_00,
    revision: 3,
};
const REGISTERS_BAR: u8 = 0;
const REGISTERS_LEN: u64 = 0x2_0000;
const PORTS_BAR: u8 = 1;
const PORTS_LEN: u64 = 64;
/// Ports: which register, and its value.
const PORT_ADDRESS: u64 = 0;
const PORT_DATA: u64 = 4;

/// The sum of all words of the EEPROM.
const EEPROM_SUM: u16 = 0xbaba;

#[derive(Debug)]
pub struct E1000 {
    mac: Mac,
    eeprom: [u16; WORDS],
    state: State,
}

/// The card on the PCI bus.
pub type E1000Card = EthernetCard<E1000>;

/// What the card has of itself: its address, who made it, and a sum.
fn eeprom(mac: Mac) -> [u16; WORDS] {
    let mut words = [0; WORDS];
    for (word, pair) in words.iter_mut().zip(mac.chunks_exact(2)) {
        *word = u16::from_le_bytes([pair[0], pair[1]]);
    }
    // Control word 1, with the signature that says there is something; subsystem, device, vendor;
    // control word 2, with flow control in both directions.
    words[0x0a] = 0x4408;
    words[0x0b] = IDENTITY.subsystem;
    words[0x0c] = IDENTITY.subsystem_vendor;
    words[0x0d] = DEVICE;
    words[0x0e] = VENDOR;
    words[0x0f] = 0x3040;
    let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
    words[WORDS - 1] = EEPROM_SUM.wrapping_sub(sum);
    words
}

impl E1000 {
    /// Register `at`, a multiple of four.
    fn load(&mut self, at: u64) -> u32 {
        let state = &mut self.state;
        match at {
            reg::CTRL => state.control,
            reg::STATUS => reg::STATUS_UP,
            reg::EECD => {
                let output = u32::from(state.microwire.output()) << reg::EECD_DO_SHIFT;
                let granted = if state.eecd & reg::EECD_REQUEST != 0 {
                    reg::EECD_GRANT
                } else {
                    0
                };
                state.eecd | output | granted | reg::EECD_PRESENT
            }
            reg::EERD => state.eerd,
            reg::MDIC => state.mdic,
            reg::ICR => std::mem::take(&mut state.causes),
            reg::ICS => state.causes,
            reg::IMS => state.mask,
            reg::RCTL => state.receive_control,
            reg::TCTL => state.transmit_control,
            at if reg::RX_RING.contains(&at) => state.receive.load(at - reg::RX_RING.start),
            at if reg::TX_RING.contains(&at) => state.transmit.load(at - reg::TX_RING.start),
            at if reg::COUNTERS.contains(&at) => {
                let counter = state.counters.get_mut(reg::index(&reg::COUNTERS, at));
                counter.map_or(0, std::mem::take)
            }
            at => match state.table(at) {
                Some(entry) => *entry,
                None => state.plain(at),
            },
        }
    }

    /// Answers whether there may be something to do by it.
    fn store(&mut self, at: u64, value: u32) -> bool {
        let state = &mut self.state;
        match at {
            reg::CTRL if value & reg::CTRL_RESET != 0 => self.reset_all(),
            reg::CTRL => {
                if value & !state.control & reg::CTRL_LINK_UP != 0 {
                    state.causes |= reg::CAUSE_LINK;
                }
                state.control = value & !reg::CTRL_PHY_RESET;
            }
            reg::EECD => {
                state.eecd = value & reg::EECD_WRITABLE;
                let wires = Wires {
                    clock: value & reg::EECD_SK != 0,
                    select: value & reg::EECD_CS != 0,
                    data: value & reg::EECD_DI != 0,
                };
                state.microwire.set(wires, &self.eeprom);
            }
            reg::EERD if value & reg::EERD_START != 0 => {
                let address = (value >> reg::EERD_ADDRESS_SHIFT & 0xff) as usize;
                let word = self.eeprom.get(address).copied().unwrap_or(0xffff);
                let kept = value & 0xff << reg::EERD_ADDRESS_SHIFT;
                state.eerd = u32::from(word) << 16 | kept | reg::EERD_DONE;
            }
            reg::MDIC => self.manage(value),
            reg::ICR => state.causes &= !value,
            reg::ICS => state.causes |= value & reg::ALL_CAUSES,
            reg::IMS => state.mask |= value & reg::ALL_CAUSES,
            reg::IMC => state.mask &= !value,
            reg::RCTL => {
                state.receive_control = value;
                return true;
            }
            reg::TCTL => {
                state.transmit_control = value;
                return true;
            }
            at if reg::RX_RING.contains(&at) => {
                state.receive.store(at - reg::RX_RING.start, value);
                return true;
            }
            at if reg::TX_RING.contains(&at) => {
                state.transmit.store(at - reg::TX_RING.start, value);
                return true;
            }
            at => match state.table(at) {
                Some(entry) => *entry = value,
                None => state.set_plain(at, value),
            },
        }
        false
    }

    /// A register of the PHY.
    fn manage(&mut self, value: u32) {
        let state = &mut self.state;
        let (phy, register) = (value >> 21 & 0x1f, (value >> 16 & 0x1f) as u8);
        let mut answer = value & !reg::MDIC_ERROR | reg::MDIC_READY;
        match value & reg::MDIC_OPERATION {
            _ if phy != reg::PHY_ADDRESS => answer |= reg::MDIC_ERROR,
            reg::MDIC_READ => {
                let found = match register {
                    reg::PHY_SPECIFIC_CONTROL => reg::PHY_SPECIFIC_CONTROL_AUTO,
                    reg::PHY_SPECIFIC_STATUS => reg::PHY_SPECIFIC_STATUS_UP,
                    _ => state.phy.read(register),
                };
                answer = answer & !0xffff | u32::from(found);
            }
            reg::MDIC_WRITE => {
                if state.phy.write(register, value as u16) {
                    state.causes |= reg::CAUSE_LINK;
                }
            }
            _ => answer |= reg::MDIC_ERROR,
        }
        state.mdic = answer;
        if value & reg::MDIC_INTERRUPT != 0 {
            state.causes |= reg::CAUSE_MDIO;
        }
    }

    fn reset_all(&mut self) {
        self.state = State::power_on(self.mac);
    }

    fn read_ports(&mut self, offset: u64, size: u8) -> u64 {
        match offset & !3 {
            PORT_ADDRESS => part(self.state.port_address, offset, size),
            PORT_DATA => {
                let at = u64::from(self.state.port_address);
                part(self.load(at & !3), offset, size)
            }
            _ => u64::MAX,
        }
    }
}

/// `size` bytes of a register, from the byte that `offset` says on.
fn part(register: u32, offset: u64, size: u8) -> u64 {
    let shifted = u64::from(register) >> (8 * (offset & 3));
    shifted & crate::ports::all_ones(size)
}

impl Adapter for E1000 {
    const KIND: &'static str = KIND;
    const VERSION: u16 = VERSION;
    type State = State;

    fn new(mac: Mac) -> E1000 {
        E1000 {
            mac,
            eeprom: eeprom(mac),
            state: State::power_on(mac),
        }
    }

    fn configuration() -> ConfigSpace {
        ConfigSpace::new(&IDENTITY)
            .with_bar(REGISTERS_BAR, BarKind::Memory32, REGISTERS_LEN)
            .with_bar(PORTS_BAR, BarKind::Io, PORTS_LEN)
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        match (bar, size) {
            (PORTS_BAR, _) => self.read_ports(offset, size),
            (_, 8) => {
                let low = u64::from(self.load(offset & !3));
                low | u64::from(self.load((offset & !3) + 4)) << 32
            }
            _ => part(self.load(offset & !3), offset, size),
        }
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) -> bool {
        let (at, low) = (offset & !3, value as u32);
        match (bar, size) {
            (PORTS_BAR, 4) if offset == PORT_ADDRESS => {
                self.state.port_address = low & (REGISTERS_LEN as u32 - 1);
                false
            }
            (PORTS_BAR, 4) if offset == PORT_DATA => {
                self.store(u64::from(self.state.port_address) & !3, low)
            }
            (REGISTERS_BAR, 4) => self.store(at, low),
            (REGISTERS_BAR, 8) => {
                let first = self.store(at, low);
                self.store(at + 4, (value >> 32) as u32) || first
            }
            // Registers are written whole.
            _ => false,
        }
    }

    fn interrupts(&self) -> bool {
        self.state.causes & self.state.mask != 0
    }

    fn send(&mut self, memory: &GuestMemory, frame: &mut Vec<u8>) -> Sent {
        transmit::next(&mut self.state, memory, frame)
    }

    fn receive(&mut self, memory: &GuestMemory, frame: &[u8], valid: bool) -> Received {
        receive::put(&mut self.state, memory, frame, valid)
    }

    fn reset(&mut self) {
        self.reset_all();
    }

    fn save(&self) -> State {
        self.state.clone()
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        state.check()?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
