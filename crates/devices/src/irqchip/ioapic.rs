//! I/O APIC with 24 pins and an EOI register.
//!
//! Spec: Intel 82093AA datasheet, "I/O APIC Registers"; Intel ICH datasheet, "APIC Registers", for
//! version 20h and its EOI register. A pin becomes a message: see `message.rs` for the format.

pub mod exchange;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message::DeliveryMode;
use crate::ports::all_ones;
use crate::{Device, DeviceState, MsiSink, RestoreError, decode_state, encode_state};

pub const PINS: u32 = 24;
/// Where PCs have it, and how many bytes.
pub const ADDRESS: u64 = 0xfec0_0000;
pub const LENGTH: u64 = 0x1000;

const KIND: &str = "ioapic";
const STATE_VERSION: u16 = 1;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const EOI: u64 = 0x40;

const REGISTER_ID: u8 = 0x00;
const REGISTER_VERSION: u8 = 0x01;
const REGISTER_ARBITRATION: u8 = 0x02;
const REGISTER_TABLE: u8 = 0x10;

/// Version 20h with 24 entries.
const VERSION: u32 = 0x20 | (PINS - 1) << 16;

/// A redirection table entry.
mod entry {
    pub(super) const VECTOR: u64 = 0xff;
    pub(super) const REMOTE_IRR: u64 = 1 << 14;
    pub(super) const LEVEL: u64 = 1 << 15;
    pub(super) const MASKED: u64 = 1 << 16;
    /// Vector, mode, destination mode, polarity, trigger, mask.
    pub(super) const WRITABLE_LOW: u32 = 0x1_afff;
    /// Destination, and its extension in bits 55:49.
    pub(super) const WRITABLE_HIGH: u32 = 0xfffe_0000;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IoApicStateV1 {
    id: u8,
    select: u8,
    /// Pin levels, bit n for pin n.
    levels: u32,
    table: [u64; 24],
}

#[derive(Debug)]
pub struct IoApic {
    state: IoApicStateV1,
    messages: Arc<dyn MsiSink>,
}

fn at_reset(levels: u32) -> IoApicStateV1 {
    IoApicStateV1 {
        id: 0,
        select: 0,
        levels,
        table: [entry::MASKED; 24],
    }
}

fn low(entry: u64) -> u32 {
    let [a, b, c, d, ..] = entry.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high(entry: u64) -> u32 {
    low(entry >> 32)
}

impl IoApic {
    #[must_use]
    pub fn new(messages: Arc<dyn MsiSink>) -> IoApic {
        IoApic {
            state: at_reset(0),
            messages,
        }
    }

    /// Sets the level of `pin`; pins that do not exist are ignored.
    pub fn set_pin(&mut self, pin: u32, high: bool) {
        if pin >= PINS {
            return;
        }
        let bit = 1 << pin;
        let rising = high && self.state.levels & bit == 0;
        if high {
            self.state.levels |= bit;
        } else {
            self.state.levels &= !bit;
        }
        let Some(&entry) = self.entry(pin) else {
            return;
        };
        // An edge while masked is lost, as on the chip; a level asks for as long as it lasts.
        if rising || (high && entry & entry::LEVEL != 0) {
            self.service(pin);
        }
    }

    fn entry(&self, pin: u32) -> Option<&u64> {
        self.state.table.get(usize::try_from(pin).ok()?)
    }

    fn set_entry(&mut self, pin: u32, value: u64) {
        let slot = usize::try_from(pin).ok();
        if let Some(entry) = slot.and_then(|slot| self.state.table.get_mut(slot)) {
            *entry = value;
        }
    }

    /// Sends the pin's message, unless it is masked or still in service.
    fn service(&mut self, pin: u32) {
        let Some(&entry) = self.entry(pin) else {
            return;
        };
        if entry & entry::MASKED != 0 {
            return;
        }
        let mode = DeliveryMode::from_bits(low(entry) >> 8);
        let acknowledged = matches!(
            mode,
            Some(DeliveryMode::Fixed | DeliveryMode::LowestPriority)
        );
        // Other modes are edges whatever the entry says.
        let level = entry & entry::LEVEL != 0 && acknowledged;
        if level {
            if entry & entry::REMOTE_IRR != 0 {
                return;
            }
            self.set_entry(pin, entry | entry::REMOTE_IRR);
        }
        let destination = u64::from(high(entry) >> 24);
        let extension = u64::from(high(entry) >> 17 & 0x7f);
        let logical = entry >> 11 & 1;
        let address = 0xfee0_0000 | destination << 12 | extension << 5 | logical << 2;
        let trigger = if level { 3 << 14 } else { 0 };
        self.messages.send(address, low(entry) & 0x7ff | trigger);
    }

    /// A processor has finished with this level-triggered vector.
    pub fn eoi(&mut self, vector: u8) {
        for pin in 0..PINS {
            let Some(&entry) = self.entry(pin) else {
                continue;
            };
            if entry & entry::REMOTE_IRR == 0 || entry & entry::VECTOR != u64::from(vector) {
                continue;
            }
            self.set_entry(pin, entry & !entry::REMOTE_IRR);
            self.retry(pin);
        }
    }

    /// A level pin that is still high asks again.
    fn retry(&mut self, pin: u32) {
        let level = self
            .entry(pin)
            .is_some_and(|entry| entry & entry::LEVEL != 0);
        if level && self.state.levels & 1 << pin != 0 {
            self.service(pin);
        }
    }

    fn read_register(&self) -> u32 {
        match self.state.select {
            REGISTER_ID | REGISTER_ARBITRATION => u32::from(self.state.id) << 24,
            REGISTER_VERSION => VERSION,
            select => match self.table_index(select) {
                None => 0,
                Some((pin, upper)) => {
                    let entry = self.entry(pin).copied().unwrap_or(0);
                    if upper { high(entry) } else { low(entry) }
                }
            },
        }
    }

    fn table_index(&self, select: u8) -> Option<(u32, bool)> {
        let index = select.checked_sub(REGISTER_TABLE)?;
        let pin = u32::from(index / 2);
        (pin < PINS).then_some((pin, index % 2 != 0))
    }

    fn write_register(&mut self, value: u32) {
        if self.state.select == REGISTER_ID {
            self.state.id = value.to_le_bytes()[3] & 0xf;
            return;
        }
        let Some((pin, upper)) = self.table_index(self.state.select) else {
            return;
        };
        let old = self.entry(pin).copied().unwrap_or(0);
        if upper {
            let kept = u64::from(low(old));
            self.set_entry(pin, u64::from(value & entry::WRITABLE_HIGH) << 32 | kept);
            return;
        }
        let read_only = old & !u64::from(entry::WRITABLE_LOW);
        let mut new = read_only | u64::from(value & entry::WRITABLE_LOW);
        // Linux clears a stuck remote IRR by making the pin edge-triggered for a moment.
        if new & entry::LEVEL == 0 {
            new &= !entry::REMOTE_IRR;
        }
        self.set_entry(pin, new);
        self.retry(pin);
    }
}

impl Device for IoApic {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let value = match offset {
            SELECT => u32::from(self.state.select),
            WINDOW => self.read_register(),
            _ => 0,
        };
        u64::from(value) & all_ones(size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match offset {
            SELECT => self.state.select = value.to_le_bytes()[0],
            WINDOW if size >= 4 => self.write_register(low(value)),
            EOI => self.eoi(value.to_le_bytes()[0]),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.state = at_reset(self.state.levels);
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, STATE_VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_state(KIND, STATE_VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
