//! Legacy interrupt pins. Several functions share a wire: it is high while any of them holds it.
//! Spec: PCI Local Bus Specification 3.0, "Interrupt Pins".

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Line;

/// Which of four wires a device's pin is soldered to: the usual swizzle. `pin` is 1 for INTA#.
#[must_use]
pub fn intx_index(device: u8, pin: u8) -> usize {
    (usize::from(device) + usize::from(pin.max(1)) - 1) % 4
}

/// One wire with many inputs.
#[derive(Debug)]
pub struct SharedLine {
    output: Arc<dyn Line>,
    /// How many inputs are high. Held while the output is driven, so that changes keep their order.
    high: Mutex<usize>,
}

impl SharedLine {
    #[must_use]
    pub fn new(output: Arc<dyn Line>) -> Arc<SharedLine> {
        Arc::new(SharedLine {
            output,
            high: Mutex::new(0),
        })
    }

    /// A further input, low.
    #[must_use]
    pub fn input(self: &Arc<Self>) -> Arc<dyn Line> {
        Arc::new(Input {
            wire: Arc::clone(self),
            high: AtomicBool::new(false),
        })
    }
}

#[derive(Debug)]
struct Input {
    wire: Arc<SharedLine>,
    high: AtomicBool,
}

impl Line for Input {
    fn set(&self, high: bool) {
        let mut count = self
            .wire
            .high
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.high.swap(high, Ordering::AcqRel) == high {
            return;
        }
        *count = if high { *count + 1 } else { *count - 1 };
        match (*count, high) {
            (1, true) => self.wire.output.set(true),
            (0, false) => self.wire.output.set(false),
            _ => {}
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.set(false);
    }
}
