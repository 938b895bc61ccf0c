//! The controller's registers. Spec: xHCI 1.2, "Register Interface".

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::rings::Ring;
use super::{PORTS, SLOTS, Xhci};

/// Where the parts begin.
const OPERATION: u64 = 0x40;
const PORT_REGISTERS: u64 = 0x440;
const PORT_LEN: u64 = 0x10;
const EXTENDED: u64 = 0x800;
const RUNTIME: u64 = 0x1000;
const INTERRUPTER: u64 = RUNTIME + 0x20;
const DOORBELLS: u64 = 0x2000;

/// Version 1.0 of the interface, of whose later additions there are none here.
const LENGTH_AND_VERSION: u32 = 0x0100_0000 | OPERATION as u32;
const STRUCTURE_1: u32 = (2 * PORTS as u32) << 24 | 1 << 8 | SLOTS as u32;
/// Addresses have 64 bits; where extended capabilities are, in doublewords.
const CAPABILITIES_1: u32 = (EXTENDED as u32 / 4) << 16 | 1;
/// Protocols, each of a revision and its ports; the second is the last.
const PROTOCOLS: [u32; 8] = [
    0x0200_0402,
    0x2042_5355,
    (PORTS as u32) << 8 | 1,
    0,
    0x0300_0002,
    0x2042_5355,
    (PORTS as u32) << 8 | (PORTS as u32 + 1),
    0,
];

const RUN: u32 = 1 << 0;
const RESET: u32 = 1 << 1;
const INTERRUPTS: u32 = 1 << 2;
const RESTORE_STATE: u32 = 1 << 9;
/// Besides these: system errors, wrap events, the other controller's.
const COMMAND_WRITABLE: u32 = RUN | INTERRUPTS | 1 << 3 | 1 << 10;

const HALTED: u32 = 1 << 0;
const EVENT: u32 = 1 << 3;
const PORT_CHANGED: u32 = 1 << 4;
/// What was to be restored is not there: the driver begins anew.
const RESTORE_FAILED: u32 = 1 << 10;
const STATUS_CLEARABLE: u32 = 1 << 2 | EVENT | PORT_CHANGED | RESTORE_FAILED;

/// In the command ring's control: its cycle, stop, abort, and that it runs.
const CYCLE: u32 = 1 << 0;
const STOP: u32 = 1 << 1;
const ABORT: u32 = 1 << 2;
const RINGS: u32 = 1 << 3;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    command: u32,
    status: u32,
    notifications: u32,
    pub(super) commands: Ring,
    /// The command ring is gone through.
    pub(super) commands_run: bool,
    /// Where the addresses of device contexts are.
    pub(super) contexts: u64,
    pub(super) configure: u32,
}

impl Registers {
    pub(super) fn is_sound(&self) -> bool {
        self.commands.is_sound()
    }

    pub(super) fn runs(&self) -> bool {
        self.command & RUN != 0
    }

    pub(super) fn interrupts_enabled(&self) -> bool {
        self.command & INTERRUPTS != 0
    }

    pub(super) fn event_came(&mut self) {
        self.status |= EVENT;
    }

    pub(super) fn port_changed(&mut self) {
        self.status |= PORT_CHANGED;
    }
}

fn halves(old: u64, value: u32, upper: bool) -> u64 {
    if upper {
        old & 0xffff_ffff | u64::from(value) << 32
    } else {
        old & !0xffff_ffff | u64::from(value)
    }
}

impl Xhci {
    pub(super) fn read_register(&self, offset: u64) -> u32 {
        match offset {
            0x00 => LENGTH_AND_VERSION,
            0x04 => STRUCTURE_1,
            0x10 => CAPABILITIES_1,
            0x14 => DOORBELLS as u32,
            0x18 => RUNTIME as u32,
            OPERATION..PORT_REGISTERS => self.read_operation(offset - OPERATION),
            PORT_REGISTERS..EXTENDED => {
                let at = offset - PORT_REGISTERS;
                let port = self.ports.get((at / PORT_LEN) as usize);
                port.map_or(0, |port| port.read(at % PORT_LEN))
            }
            EXTENDED..RUNTIME => {
                let at = ((offset - EXTENDED) / 4) as usize;
                PROTOCOLS.get(at).copied().unwrap_or(0)
            }
            INTERRUPTER..DOORBELLS => self.events.read(offset - INTERRUPTER),
            _ => 0,
        }
    }

    fn read_operation(&self, at: u64) -> u32 {
        let registers = &self.registers;
        match at {
            0x00 => registers.command,
            0x04 if registers.runs() => registers.status,
            0x04 => registers.status | HALTED,
            // Pages of 4 KiB.
            0x08 => 1,
            0x14 => registers.notifications,
            // Of the command ring only that it runs can be read.
            0x18 if registers.commands_run => RINGS,
            0x30 => registers.contexts as u32,
            0x34 => (registers.contexts >> 32) as u32,
            0x38 => registers.configure,
            _ => 0,
        }
    }

    pub(super) fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            OPERATION..PORT_REGISTERS => self.write_operation(offset - OPERATION, value),
            PORT_REGISTERS..EXTENDED => {
                let at = offset - PORT_REGISTERS;
                if at.is_multiple_of(PORT_LEN) {
                    self.write_port((at / PORT_LEN) as usize, value);
                }
            }
            INTERRUPTER..DOORBELLS => {
                self.events.write(offset - INTERRUPTER, value, &self.memory);
                // Who waited for room goes on.
                if self.works() && self.events.has_room() {
                    self.go_on();
                }
            }
            DOORBELLS.. => self.ring((offset - DOORBELLS) / 4, value),
            _ => {}
        }
    }

    fn write_operation(&mut self, at: u64, value: u32) {
        let registers = &mut self.registers;
        match at {
            0x00 if value & RESET != 0 => self.reset_controller(),
            0x00 => self.write_command(value),
            0x04 => registers.status &= !(value & STATUS_CLEARABLE),
            0x14 => registers.notifications = value & 0xffff,
            0x18 => self.write_command_ring(value),
            0x1c if !registers.commands_run => {
                registers.commands.at = halves(registers.commands.at, value, true);
            }
            0x30 => registers.contexts = halves(registers.contexts, value & !0x3f, false),
            0x34 => registers.contexts = halves(registers.contexts, value, true),
            0x38 => registers.configure = value & 0xff,
            _ => {}
        }
    }

    fn write_command(&mut self, value: u32) {
        let registers = &mut self.registers;
        let ran = registers.runs();
        registers.command = value & COMMAND_WRITABLE;
        if value & RESTORE_STATE != 0 {
            registers.status |= RESTORE_FAILED;
        }
        if registers.runs() && !ran {
            self.tell_ports();
            self.go_on();
        } else if ran && !registers.runs() {
            registers.commands_run = false;
        }
    }

    fn write_command_ring(&mut self, value: u32) {
        let registers = &mut self.registers;
        if registers.commands_run {
            if value & (STOP | ABORT) != 0 {
                registers.commands_run = false;
                self.commands_stopped();
            }
            return;
        }
        registers.commands.at = halves(registers.commands.at, value & !0x3f, false);
        registers.commands.cycle = value & CYCLE != 0;
    }

    /// A doorbell: of the command ring, or of a slot.
    fn ring(&mut self, index: u64, value: u32) {
        if !self.works() {
            return;
        }
        if index == 0 {
            self.registers.commands_run = true;
            self.run_commands(Instant::now());
        } else if let Ok(slot) = u8::try_from(index)
            && usize::from(slot) <= SLOTS
        {
            self.ring_endpoint(slot, (value & 0xff) as u8);
        }
    }
}
