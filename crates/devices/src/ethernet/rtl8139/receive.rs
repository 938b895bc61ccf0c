//! Frames for the guest, in a ring of bytes. Spec: the datasheet's "Receive Configuration Register",
//! "Packet Reception".

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::State;
use super::registers as reg;
use crate::ethernet::{Mac, Received, SHORTEST, group_hash};

/// Before each frame: what it is, and its bytes with the check sequence.
const HEADER: usize = 4;
const CHECK: usize = 4;
const WELL: u16 = 1 << 0;
const TO_ALL: u16 = 1 << 13;
const TO_OWN: u16 = 1 << 14;
const TO_GROUP: u16 = 1 << 15;
const LONGEST: usize = 4096;
const LARGEST_RING: usize = 0x1_0000;

impl State {
    /// Bytes of the ring.
    fn ring(&self) -> usize {
        0x2000 << (self.receive >> reg::RECEIVE_SIZE_SHIFT & 3)
    }

    fn reads_at(&self) -> usize {
        usize::from(self.read.wrapping_add(reg::READ_AHEAD)) % self.ring()
    }

    fn writes_at(&self) -> usize {
        usize::from(self.written) % self.ring()
    }

    /// Has the driver read everything?
    pub(super) fn is_empty(&self) -> bool {
        self.reads_at() == self.writes_at()
    }

    fn room(&self) -> usize {
        let ring = self.ring();
        // One byte less, since a full ring would look empty.
        (self.reads_at() + ring - self.writes_at() - 1) % ring
    }

    /// What the header says of a frame that is let in.
    fn lets_in(&self, frame: &[u8]) -> Option<u16> {
        let to: Mac = *frame.first_chunk()?;
        let has = |bit: u32| self.receive & bit != 0;
        let kind = if to == [0xff; 6] {
            TO_ALL
        } else if to[0] & 1 != 0 {
            TO_GROUP
        } else if to == self.id {
            TO_OWN
        } else {
            0
        };
        let hash = group_hash(to);
        let hashed = self.groups[usize::from(hash >> 3)] >> (hash & 7) & 1 != 0;
        let wanted = match kind {
            TO_ALL => has(reg::RECEIVE_BROADCAST),
            TO_GROUP => has(reg::RECEIVE_GROUPS) && hashed,
            TO_OWN => has(reg::RECEIVE_OWN),
            _ => false,
        };
        (wanted || has(reg::RECEIVE_ALL_OWN)).then_some(WELL | kind)
    }

    pub(super) fn put(&mut self, memory: &GuestMemory, frame: &[u8]) -> Received {
        if self.command & reg::COMMAND_RECEIVE == 0 || frame.len() > LONGEST {
            return Received::Done;
        }
        let Some(status) = self.lets_in(frame) else {
            return Received::Done;
        };
        let len = frame.len().max(SHORTEST) + CHECK;
        let mut bytes = Vec::with_capacity(HEADER + len + 3);
        bytes.extend(status.to_le_bytes());
        bytes.extend((len as u16).to_le_bytes());
        bytes.extend(frame);
        // Nobody has computed its check sequence: there was no wire.
        bytes.resize((HEADER + len).next_multiple_of(4), 0);
        if self.room() < bytes.len() {
            return Received::NoRoom;
        }
        let (ring, at) = (self.ring(), self.writes_at());
        let beyond = self.receive & reg::RECEIVE_BEYOND != 0 && ring < LARGEST_RING;
        let here = match beyond {
            true => bytes.len(),
            false => bytes.len().min(ring - at),
        };
        let base = u64::from(self.buffer);
        // Where there is no RAM, nothing hears it.
        let _ = memory
            .ram()
            .write_slice(&bytes[..here], GuestAddress(base + at as u64));
        let _ = memory.ram().write_slice(&bytes[here..], GuestAddress(base));
        self.written = ((at + bytes.len()) % ring) as u16;
        self.causes |= reg::CAUSE_RECEIVED;
        Received::Done
    }
}
