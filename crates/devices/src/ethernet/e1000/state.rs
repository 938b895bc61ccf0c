//! All that an 82540EM remembers.

use netio::MAX_FRAME;
use serde::{Deserialize, Serialize};

use super::registers as reg;
use crate::ethernet::Mac;
use crate::ethernet::eeprom::Microwire;
use crate::ethernet::mii::Phy;

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR: u64 = 16;

/// A ring of descriptors.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ring {
    base: u64,
    /// Bytes.
    len: u32,
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl Ring {
    pub(super) fn load(&self, register: u64) -> u32 {
        match register {
            reg::BASE_LOW => self.base as u32,
            reg::BASE_HIGH => (self.base >> 32) as u32,
            reg::LENGTH => self.len,
            reg::HEAD => self.head,
            reg::TAIL => self.tail,
            _ => 0,
        }
    }

    pub(super) fn store(&mut self, register: u64, value: u32) {
        match register {
            reg::BASE_LOW => {
                self.base = self.base & !0xffff_ffff | u64::from(value & !0xf);
            }
            reg::BASE_HIGH => self.base = self.base & 0xffff_ffff | u64::from(value) << 32,
            // In lines of 128 bytes.
            reg::LENGTH => self.len = value & 0xf_ff80,
            reg::HEAD => self.head = value & 0xffff,
            reg::TAIL => self.tail = value & 0xffff,
            _ => {}
        }
    }

    /// How many descriptors it has.
    pub(super) fn count(&self) -> u32 {
        self.len / DESCRIPTOR as u32
    }

    /// How many of them are the card's. None where its ends lie outside of it.
    pub(super) fn owned(&self) -> u32 {
        let count = self.count();
        if self.head >= count || self.tail >= count {
            return 0;
        }
        (self.tail + count - self.head) % count
    }

    /// Where the descriptor is that the card uses next.
    pub(super) fn at(&self) -> u64 {
        self.base.wrapping_add(u64::from(self.head) * DESCRIPTOR)
    }

    pub(super) fn advance(&mut self) {
        self.head = (self.head + 1) % self.count().max(1);
    }
}

/// What a context descriptor says of the frames behind it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Context {
    pub(super) ip_start: u8,
    pub(super) ip_sum: u8,
    pub(super) ip_end: u16,
    pub(super) start: u8,
    pub(super) sum: u8,
    pub(super) end: u16,
    pub(super) tcp: bool,
    pub(super) v4: bool,
    pub(super) header_len: u8,
    pub(super) segment: u16,
}

/// A frame that the guest has begun to send.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    pub(super) begun: bool,
    /// It is longer than frames are, and will not be sent.
    pub(super) too_long: bool,
    pub(super) insert_ip: bool,
    pub(super) insert_transport: bool,
    pub(super) segment: bool,
    /// Where a legacy descriptor wants a sum, and from where on.
    pub(super) legacy_sum: Option<(u8, u8)>,
    pub(super) tag: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(super) control: u32,
    pub(super) eecd: u32,
    pub(super) microwire: Microwire,
    pub(super) eerd: u32,
    pub(super) mdic: u32,
    pub(super) phy: Phy,
    pub(super) causes: u32,
    pub(super) mask: u32,
    pub(super) receive_control: u32,
    pub(super) transmit_control: u32,
    pub(super) receive: Ring,
    pub(super) transmit: Ring,
    /// For checksums, and for segmentation.
    pub(super) contexts: [Context; 2],
    pub(super) pending: Pending,
    pub(super) port_address: u32,
    pub(super) counters: Vec<u32>,
    groups: Vec<u32>,
    addresses: Vec<u32>,
    vlans: Vec<u32>,
    plain: Vec<u32>,
}

impl State {
    pub(super) fn power_on(mac: Mac) -> State {
        let table = |range: std::ops::Range<u64>| vec![0; reg::index(&range, range.end)];
        let mut addresses = table(reg::ADDRESSES);
        let [a, b, c, d, e, f] = mac;
        addresses[0] = u32::from_le_bytes([a, b, c, d]);
        addresses[1] = u32::from(u16::from_le_bytes([e, f])) | reg::ADDRESS_VALID;
        State {
            control: reg::CTRL_POWER_ON,
            eecd: 0,
            microwire: Microwire::default(),
            eerd: reg::EERD_DONE,
            mdic: 0,
            phy: Phy::new(reg::PHY_IDENTIFIER, true),
            causes: 0,
            mask: 0,
            receive_control: 0,
            transmit_control: 0,
            receive: Ring::default(),
            transmit: Ring::default(),
            contexts: [Context::default(); 2],
            pending: Pending::default(),
            port_address: 0,
            counters: table(reg::COUNTERS),
            groups: table(reg::GROUPS),
            addresses,
            vlans: table(reg::VLANS),
            plain: reg::PLAIN.iter().map(|(_, value)| *value).collect(),
        }
    }

    /// Is it one that a card can be in?
    pub(super) fn check(&self) -> Result<(), String> {
        let like = State::power_on([0; 6]);
        let lens = |state: &State| {
            [
                state.counters.len(),
                state.groups.len(),
                state.addresses.len(),
                state.vlans.len(),
                state.plain.len(),
            ]
        };
        if lens(self) != lens(&like) {
            return Err("another number of registers".into());
        }
        if self.pending.bytes.len() > MAX_FRAME {
            return Err("a frame that is longer than frames are".into());
        }
        if !self.phy.is_like(&like.phy) {
            return Err("another PHY".into());
        }
        Ok(())
    }

    /// An entry of the filters.
    pub(super) fn table(&mut self, at: u64) -> Option<&mut u32> {
        let (range, table) = match at {
            at if reg::GROUPS.contains(&at) => (reg::GROUPS, &mut self.groups),
            at if reg::ADDRESSES.contains(&at) => (reg::ADDRESSES, &mut self.addresses),
            at if reg::VLANS.contains(&at) => (reg::VLANS, &mut self.vlans),
            _ => return None,
        };
        table.get_mut(reg::index(&range, at))
    }

    pub(super) fn groups(&self) -> &[u32] {
        &self.groups
    }

    pub(super) fn addresses(&self) -> &[u32] {
        &self.addresses
    }

    pub(super) fn vlans(&self) -> &[u32] {
        &self.vlans
    }

    /// A register that only remembers; zero where there is none.
    pub(super) fn plain(&self, at: u64) -> u32 {
        let found = reg::PLAIN.binary_search_by_key(&at, |(at, _)| *at);
        found.map_or(0, |index| self.plain[index])
    }

    pub(super) fn set_plain(&mut self, at: u64, value: u32) {
        if let Ok(index) = reg::PLAIN.binary_search_by_key(&at, |(at, _)| *at) {
            self.plain[index] = value;
        }
    }

    /// Counts without an end: drivers read often enough.
    pub(super) fn count(&mut self, at: u64, by: u32) {
        if let Some(counter) = self.counters.get_mut(reg::index(&reg::COUNTERS, at)) {
            *counter = counter.saturating_add(by);
        }
    }
}
