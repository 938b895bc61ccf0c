//! A function's interrupt pin: what the function wants, and what its command register lets through.
//! Spec: PCI Local Bus Specification 3.0, "Device Control", "Device Status".

use std::sync::{Arc, Mutex};

use crate::Line;
use crate::pci::{COMMAND_INTX_DISABLE, STATUS, STATUS_INTX};
use crate::ports::locked;

#[derive(Debug, Default)]
struct Levels {
    wanted: bool,
    masked: bool,
}

#[derive(Debug)]
pub(crate) struct Pin {
    line: Arc<dyn Line>,
    /// Held while the line is driven, so that changes keep their order.
    levels: Mutex<Levels>,
}

impl Pin {
    pub(crate) fn new(line: Arc<dyn Line>) -> Pin {
        Pin {
            line,
            levels: Mutex::default(),
        }
    }

    /// The function wants attention, or does not.
    pub(crate) fn set(&self, wanted: bool) {
        let mut levels = locked(&self.levels);
        if levels.wanted != wanted {
            levels.wanted = wanted;
            self.line.set(wanted && !levels.masked);
        }
    }

    /// Takes over what the command register says.
    pub(crate) fn follow(&self, command: u16) {
        let mut levels = locked(&self.levels);
        levels.masked = command & COMMAND_INTX_DISABLE != 0;
        self.line.set(levels.wanted && !levels.masked);
    }

    /// What a read of configuration space shows of it.
    pub(crate) fn status(&self, offset: u16, size: u8) -> u32 {
        let seen = STATUS >= offset && STATUS < offset + u16::from(size);
        if seen && locked(&self.levels).wanted {
            u32::from(STATUS_INTX) << (8 * (STATUS - offset))
        } else {
            0
        }
    }
}
