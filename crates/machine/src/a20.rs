//! Address line 20, which machines since the PC/AT can keep from leaving the processor: then the second
//! megabyte is the first once more.
//!
//! Programs look for it in the first 64 KiB of the second megabyte, which real mode reaches, and there they
//! find what is at as many bytes from zero. Up to where the first megabyte has its hole for a display,
//! that is so in protected mode too; all other odd megabytes are as they are.
//!
//! Where no memory can be seen at two addresses, in machines without firmware, the line is always on: no kernel
//! that is booted so was made for an 8086.

use std::sync::Mutex;

use memory::{Gpa, GuestMemory, RamRange};

use crate::layout::{BIOS_AREA_END, VGA_HOLE};
use crate::sync::lock;

/// What shows other memory while the line is off.
const WRAPPED: RamRange = RamRange {
    base: BIOS_AREA_END,
    len: VGA_HOLE.0,
};

#[derive(Debug)]
pub(crate) struct A20Gate {
    memory: GuestMemory,
    on: Mutex<bool>,
}

impl A20Gate {
    /// On, as machines start that come up at the end of 4 GiB.
    pub(crate) fn new(memory: GuestMemory) -> A20Gate {
        A20Gate {
            memory,
            on: Mutex::new(true),
        }
    }

    pub(crate) fn set(&self, on: bool) {
        let mut current = lock(&self.on);
        if *current == on {
            return;
        }
        *current = on;
        let at = if on { WRAPPED.base } else { Gpa(0) };
        // A guest with less memory than that, or without firmware, has nothing there to show.
        let _ = self.memory.show(WRAPPED, at);
    }
}

#[cfg(test)]
mod tests;
