//! Interrupt lines of the board: each ends at the PIC and at the I/O APIC.
//!
//! Spec: ACPI, "Interrupt Source Override Structure". ISA interrupt 0 is I/O APIC pin 2, all others
//! are the pin of their own number; pins 16 to 23 have no PIC input.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{IoApic, Pic};
use crate::Line;
use crate::ports::locked;

/// A wire that several devices share: high while any of them holds it high.
#[derive(Debug)]
pub(super) struct Wire {
    irq: u8,
    pic: Arc<Mutex<Pic>>,
    ioapic: Arc<Mutex<IoApic>>,
    /// How many devices hold it high. Held locked while the chips are told, so that two devices
    /// cannot tell them in the wrong order.
    holders: Mutex<u32>,
}

impl Wire {
    pub(super) fn new(irq: u8, pic: Arc<Mutex<Pic>>, ioapic: Arc<Mutex<IoApic>>) -> Wire {
        Wire {
            irq,
            pic,
            ioapic,
            holders: Mutex::new(0),
        }
    }

    fn drive(&self, high: bool) {
        let pin = match self.irq {
            0 => Some(2),
            2 => None,
            irq => Some(u32::from(irq)),
        };
        if self.irq < 16 {
            locked(&self.pic).set_irq(self.irq, high);
        }
        if let Some(pin) = pin {
            locked(&self.ioapic).set_pin(pin, high);
        }
    }
}

/// One device's end of an interrupt wire. Dropping it lets the wire go.
#[derive(Debug)]
pub struct IrqLine {
    wire: Arc<Wire>,
    high: AtomicBool,
}

impl IrqLine {
    pub(super) fn new(wire: Arc<Wire>) -> IrqLine {
        IrqLine {
            wire,
            high: AtomicBool::new(false),
        }
    }
}

impl Line for IrqLine {
    fn set(&self, high: bool) {
        let mut holders = locked(&self.wire.holders);
        if self.high.swap(high, Ordering::Relaxed) == high {
            return;
        }
        let before = *holders;
        *holders = if high {
            before.saturating_add(1)
        } else {
            before.saturating_sub(1)
        };
        if (before == 0) != (*holders == 0) {
            self.wire.drive(high);
        }
    }
}

impl Drop for IrqLine {
    fn drop(&mut self) {
        self.set(false);
    }
}
