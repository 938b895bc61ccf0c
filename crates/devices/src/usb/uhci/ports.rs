//! Ports of the root hub. Spec: UHCI Design Guide 1.1, "PORTSC: Port Status and Control Register".

use serde::{Deserialize, Serialize};

use super::Uhci;
use super::pipe::Pipe;
use crate::usb::descriptors::Speed;

const CONNECTED: u16 = 1 << 0;
const CONNECTION_CHANGED: u16 = 1 << 1;
const ENABLED: u16 = 1 << 2;
const ENABLED_CHANGED: u16 = 1 << 3;
/// Which of the wires is high, of a device that is at rest: the one, or the other.
const LINE_PLUS: u16 = 1 << 4;
const LINE_MINUS: u16 = 1 << 5;
const RESUME: u16 = 1 << 6;
/// Always set, by which a port is told from none.
const ALWAYS: u16 = 1 << 7;
const SLOW: u16 = 1 << 8;
const RESET: u16 = 1 << 9;
const SUSPENDED: u16 = 1 << 12;
pub(super) const CHANGES: u16 = CONNECTION_CHANGED | ENABLED_CHANGED;
const WRITABLE: u16 = ENABLED | RESUME | RESET | SUSPENDED;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Port {
    status: u16,
    /// The device's, which is 0 after a reset.
    pub(super) address: u8,
    pub(super) pipe: Pipe,
}

impl Port {
    /// With a device of that speed, or none.
    pub(super) fn new(speed: Option<Speed>) -> Port {
        let there = match speed {
            Some(Speed::Low) => CONNECTED | CONNECTION_CHANGED | LINE_MINUS | SLOW,
            Some(Speed::Full | Speed::High) => CONNECTED | CONNECTION_CHANGED | LINE_PLUS,
            None => 0,
        };
        Port {
            status: ALWAYS | there,
            address: 0,
            pipe: Pipe::default(),
        }
    }

    pub(super) fn read(&self) -> u16 {
        self.status
    }

    /// Do packets pass?
    pub(super) fn is_open(&self) -> bool {
        self.status & (CONNECTED | ENABLED | RESET | SUSPENDED) == CONNECTED | ENABLED
    }

    pub(super) fn is_slow(&self) -> bool {
        self.status & SLOW != 0
    }

    /// Packets pass to a device that its driver has given a number.
    pub(super) fn is_addressed(&self) -> bool {
        self.is_open() && self.address != 0
    }

    /// The controller loses sight of what hangs there, and finds it.
    pub(super) fn reconnect(&mut self) {
        if self.status & CONNECTED != 0 {
            let was_enabled = self.status & ENABLED != 0;
            self.status &= !(ENABLED | RESET | RESUME | SUSPENDED);
            self.status |= CONNECTION_CHANGED;
            if was_enabled {
                self.status |= ENABLED_CHANGED;
            }
        }
    }

    /// A write of the guest. Answers whether the device is reset by it.
    fn write(&mut self, value: u16) -> bool {
        self.status &= !(value & CHANGES);
        let before = self.status;
        self.status = before & !WRITABLE | value & WRITABLE;
        if before & CONNECTED == 0 {
            self.status &= !(ENABLED | SUSPENDED | RESUME);
        }
        // A device that is being reset hears nothing else.
        if self.status & RESET != 0 {
            self.status &= !(ENABLED | SUSPENDED | RESUME);
        }
        // Whoever ends a resume has woken the device.
        if before & RESUME != 0 && self.status & RESUME == 0 {
            self.status &= !SUSPENDED;
        }
        before & RESET == 0 && self.status & RESET != 0
    }

    /// Is it one that this port can be?
    pub(super) fn fits(&self, saved: &Port) -> bool {
        let fixed = CONNECTED | LINE_PLUS | LINE_MINUS | SLOW | ALWAYS;
        let known = fixed | CHANGES | WRITABLE;
        saved.status & fixed == self.status & fixed
            && saved.status & !known == 0
            && saved.address < 128
            && saved.pipe.is_sound()
    }
}

impl Uhci {
    pub(super) fn write_port(&mut self, index: usize, value: u16) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        if port.write(value) {
            port.address = 0;
            port.pipe = Pipe::default();
            if let Some(device) = self.devices.get_mut(index) {
                device.reset();
            }
        }
    }
}
