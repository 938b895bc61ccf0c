//! MSI-X: a table of messages in a region of the function, each of which can be masked.
//! Spec: PCI Local Bus Specification 3.0, "MSI-X Capability and Table Structures".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are halves of wider values"
)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::MsiSink;

/// The capability's id.
pub const MSIX_CAPABILITY: u8 = 0x11;
/// Bytes of a table entry.
const ENTRY: u64 = 16;
const CONTROL_MASKED: u32 = 1;
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    address: u64,
    data: u32,
    control: u32,
}

/// An entry at power-on: masked, its message undefined.
const FRESH: Entry = Entry {
    address: 0,
    data: 0,
    control: CONTROL_MASKED,
};

/// The saved form of [`Msix`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    entries: Vec<Entry>,
    pending: Vec<bool>,
    control: u16,
}

/// The body and the guest's bits of the capability, for [`crate::pci::ConfigSpace::add_capability`].
/// Table and pending bits lie in region `bar` at these offsets, multiples of 8.
#[must_use]
pub fn msix_capability(vectors: u16, bar: u8, table: u32, pending: u32) -> ([u8; 10], [u8; 10]) {
    let mut body = [0; 10];
    body[..2].copy_from_slice(&(vectors.max(1) - 1).to_le_bytes());
    body[2..6].copy_from_slice(&(table | u32::from(bar)).to_le_bytes());
    body[6..].copy_from_slice(&(pending | u32::from(bar)).to_le_bytes());
    let mut writable = [0; 10];
    writable[..2].copy_from_slice(&(ENABLE | FUNCTION_MASK).to_le_bytes());
    (body, writable)
}

/// The vectors of one function. Whoever owns it passes on writes to the capability's control word
/// and to the table.
#[derive(Debug)]
pub struct Msix {
    entries: Vec<Entry>,
    pending: Vec<bool>,
    /// Enable and function mask, as in the capability.
    control: u16,
    sink: Arc<dyn MsiSink>,
}

impl Msix {
    #[must_use]
    pub fn new(vectors: u16, sink: Arc<dyn MsiSink>) -> Msix {
        Msix {
            entries: vec![FRESH; usize::from(vectors)],
            pending: vec![false; usize::from(vectors)],
            control: 0,
            sink,
        }
    }

    #[must_use]
    pub fn vectors(&self) -> usize {
        self.entries.len()
    }

    /// Has the guest chosen MSI-X over the INTx line?
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// The capability's control word as the guest has written it.
    pub fn set_control(&mut self, control: u16) {
        self.control = control & (ENABLE | FUNCTION_MASK);
        for vector in 0..self.entries.len() {
            self.deliver_pending(vector);
        }
    }

    /// Sends the vector's message; while it is masked, once it is not any more. Nothing happens
    /// while MSI-X is off or for a vector that does not exist.
    pub fn fire(&mut self, vector: u16) {
        let vector = usize::from(vector);
        if !self.enabled() || vector >= self.entries.len() {
            return;
        }
        self.pending[vector] = true;
        self.deliver_pending(vector);
    }

    fn deliver_pending(&mut self, vector: usize) {
        let entry = self.entries[vector];
        let open = self.control & (ENABLE | FUNCTION_MASK) == ENABLE
            && entry.control & CONTROL_MASKED == 0;
        if open && self.pending[vector] {
            self.pending[vector] = false;
            self.sink.send(entry.address, entry.data);
        }
    }

    /// Reads the table: 4 or 8 bytes, aligned; other accesses have no meaning and answer zero.
    #[must_use]
    pub fn read_table(&self, offset: u64, size: u8) -> u64 {
        match size {
            4 => u64::from(self.table_word(offset)),
            8 => u64::from(self.table_word(offset + 4)) << 32 | u64::from(self.table_word(offset)),
            _ => 0,
        }
    }

    fn table_word(&self, offset: u64) -> u32 {
        let Some(entry) = self.entries.get(index(offset)) else {
            return 0;
        };
        match offset % ENTRY {
            0 => entry.address as u32,
            4 => (entry.address >> 32) as u32,
            8 => entry.data,
            12 => entry.control,
            _ => 0,
        }
    }

    /// Writes the table: 4 or 8 bytes, aligned; other accesses are dropped. Unmasking a vector
    /// delivers what it has pending.
    pub fn write_table(&mut self, offset: u64, size: u8, value: u64) {
        match size {
            4 => self.write_table_word(offset, value as u32),
            8 => {
                self.write_table_word(offset, value as u32);
                self.write_table_word(offset + 4, (value >> 32) as u32);
            }
            _ => {}
        }
    }

    fn write_table_word(&mut self, offset: u64, value: u32) {
        let vector = index(offset);
        let Some(entry) = self.entries.get_mut(vector) else {
            return;
        };
        let (low, high) = (0xffff_ffff, 0xffff_ffff_0000_0000);
        match offset % ENTRY {
            // Messages are doublewords: the low two address bits are zero.
            0 => entry.address = entry.address & high | u64::from(value & !0b11),
            4 => entry.address = entry.address & low | u64::from(value) << 32,
            8 => entry.data = value,
            12 => {
                entry.control = value & CONTROL_MASKED;
                self.deliver_pending(vector);
            }
            _ => {}
        }
    }

    /// Reads the pending bits, 64 vectors to the 8 bytes: 4 or 8 bytes, aligned.
    #[must_use]
    pub fn read_pending(&self, offset: u64, size: u8) -> u64 {
        if size < 4 || !offset.is_multiple_of(u64::from(size)) {
            return 0;
        }
        let first = usize::try_from(offset.saturating_mul(8)).unwrap_or(usize::MAX);
        let bits = self.pending.iter().skip(first).take(usize::from(size) * 8);
        bits.enumerate()
            .fold(0, |word, (bit, &pending)| word | u64::from(pending) << bit)
    }

    /// Forgets messages that wait: the device was reset, and nobody expects them.
    pub fn clear_pending(&mut self) {
        self.pending.fill(false);
    }

    pub fn reset(&mut self) {
        self.entries.fill(FRESH);
        self.pending.fill(false);
        self.control = 0;
    }

    #[must_use]
    pub fn save(&self) -> MsixState {
        MsixState {
            entries: self.entries.clone(),
            pending: self.pending.clone(),
            control: self.control,
        }
    }

    /// # Errors
    /// With a reason, when the state has another number of vectors. Nothing is changed then.
    pub fn restore(&mut self, state: &MsixState) -> Result<(), String> {
        let vectors = self.entries.len();
        if state.entries.len() != vectors || state.pending.len() != vectors {
            return Err(format!(
                "{} MSI-X vectors, not {vectors}",
                state.entries.len()
            ));
        }
        self.entries.clone_from(&state.entries);
        self.pending.clone_from(&state.pending);
        self.control = state.control & (ENABLE | FUNCTION_MASK);
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset / ENTRY).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
