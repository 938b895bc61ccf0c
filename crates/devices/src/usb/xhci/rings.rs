//! Rings of requests in the guest's memory. Spec: xHCI 1.2, "TRB Ring", "Transfer Request Block (TRB)".

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

pub(super) const TRB_LEN: u64 = 16;
const CYCLE: u32 = 1 << 0;
/// Of a link: the cycle turns there.
const TOGGLE: u32 = 1 << 1;
const LINK: u8 = 6;
/// Links that may follow each other.
const MOST_LINKS: usize = 8;

/// A request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trb {
    pub(super) parameter: u64,
    pub(super) status: u32,
    pub(super) control: u32,
    /// Where it lies.
    pub(super) at: u64,
}

impl Trb {
    pub(super) fn kind(&self) -> u8 {
        (self.control >> 10 & 0x3f) as u8
    }

    pub(super) fn has(&self, bit: u32) -> bool {
        self.control & bit != 0
    }

    pub(super) fn slot(&self) -> u8 {
        (self.control >> 24) as u8
    }
}

/// Where the next request is, and how one looks that is there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ring {
    pub(super) at: u64,
    pub(super) cycle: bool,
}

impl Ring {
    /// As a context or a command has it: the lowest bit is the cycle.
    pub(super) fn from_pointer(pointer: u64) -> Ring {
        Ring {
            at: pointer & !15,
            cycle: pointer & 1 != 0,
        }
    }

    pub(super) fn pointer(self) -> u64 {
        self.at | u64::from(self.cycle)
    }

    pub(super) fn is_sound(self) -> bool {
        self.at.is_multiple_of(TRB_LEN)
    }

    /// The next request, if there is one; the ring goes on behind it. Links are followed.
    pub(super) fn next(&mut self, memory: &GuestMemory) -> Option<Trb> {
        for _ in 0..MOST_LINKS {
            let words = memory.ram().read_obj::<[u32; 4]>(GuestAddress(self.at));
            let [low, high, status, control] = words.ok()?.map(u32::from_le);
            if (control & CYCLE != 0) != self.cycle {
                return None;
            }
            let trb = Trb {
                parameter: u64::from(high) << 32 | u64::from(low),
                status,
                control,
                at: self.at,
            };
            if trb.kind() != LINK {
                self.at = self.at.wrapping_add(TRB_LEN);
                return Some(trb);
            }
            self.at = trb.parameter & !15;
            self.cycle ^= trb.has(TOGGLE);
        }
        None
    }
}
