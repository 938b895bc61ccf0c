//! Ports of the root hub. Spec: xHCI 1.2, "Port Status and Control Register (PORTSC)".

use serde::{Deserialize, Serialize};

use super::Xhci;
use super::events::PORT_CHANGED;

const CONNECTED: u32 = 1 << 0;
const ENABLED: u32 = 1 << 1;
const RESET: u32 = 1 << 4;
const POWER: u32 = 1 << 9;
const LINK_SHIFT: u32 = 5;
const LINK: u32 = 0xf << LINK_SHIFT;
/// States of a link: it works, sleeps, looks for somebody, waits for a reset, wakes up.
const LINK_U0: u32 = 0;
const LINK_U3: u32 = 3;
const LINK_DETECT: u32 = 5;
const LINK_POLLING: u32 = 7;
const LINK_RESUME: u32 = 15;
/// High speed.
const SPEED: u32 = 3 << 10;
/// The link's state is written.
const LINK_STROBE: u32 = 1 << 16;
/// Changes: of connection, of enabling, by a reset, of the link.
const CONNECTION_CHANGED: u32 = 1 << 17;
const RESET_DONE: u32 = 1 << 21;
const LINK_CHANGED: u32 = 1 << 22;
const CHANGES: u32 = 0x00fe_0000;
/// What wakes the machine, which nothing does.
const WAKES: u32 = 0x0e00_0000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Port {
    status: u32,
}

impl Port {
    pub(super) fn new(there: bool) -> Port {
        let status = if there {
            POWER | CONNECTED | CONNECTION_CHANGED | LINK_POLLING << LINK_SHIFT
        } else {
            POWER | LINK_DETECT << LINK_SHIFT
        };
        Port { status }
    }

    pub(super) fn read(&self, at: u64) -> u32 {
        if at == 0 { self.status } else { 0 }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.status & ENABLED != 0
    }

    fn set_link(&mut self, link: u32) {
        self.status = self.status & !LINK | link << LINK_SHIFT;
    }

    /// A write of the guest. Answers whether the device is reset by it, and whether there is a change to tell.
    fn write(&mut self, value: u32) -> (bool, bool) {
        self.status &= !(value & CHANGES);
        self.status = self.status & !WAKES | value & WAKES;
        if self.status & CONNECTED == 0 {
            return (false, false);
        }
        if value & RESET != 0 {
            self.status |= ENABLED | RESET_DONE | SPEED;
            self.set_link(LINK_U0);
            return (true, true);
        }
        // Written as one, it is switched off.
        if value & ENABLED != 0 && self.is_enabled() {
            self.status &= !(ENABLED | SPEED);
            self.set_link(LINK_POLLING);
            return (false, false);
        }
        if value & LINK_STROBE == 0 || !self.is_enabled() {
            return (false, false);
        }
        let before = (self.status & LINK) >> LINK_SHIFT;
        match (value & LINK) >> LINK_SHIFT {
            LINK_U0 => {
                self.set_link(LINK_U0);
                let woke = matches!(before, LINK_U3 | LINK_RESUME);
                if woke {
                    self.status |= LINK_CHANGED;
                }
                (false, woke)
            }
            state @ (LINK_U3 | LINK_RESUME) => {
                self.set_link(state);
                (false, false)
            }
            _ => (false, false),
        }
    }
}

impl Xhci {
    pub(super) fn write_port(&mut self, index: usize, value: u32) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        let (resets, changed) = port.write(value);
        if resets && let Some(device) = self.devices.get_mut(index) {
            device.reset();
        }
        if changed {
            self.tell_port(index);
        }
    }

    fn tell_port(&mut self, index: usize) {
        self.registers.port_changed();
        if self.works() {
            // Ports count from one.
            let port = (index as u64 + 1) << 24;
            self.event(PORT_CHANGED, port, 1 << 24, 0);
        }
    }

    /// The controller begins to run: what changed before is told.
    pub(super) fn tell_ports(&mut self) {
        for index in 0..self.ports.len() {
            if self.ports[index].status & CHANGES != 0 {
                self.tell_port(index);
            }
        }
    }
}
