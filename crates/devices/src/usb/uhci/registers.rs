//! The controller's registers. Spec: UHCI Design Guide 1.1, "Host Controller I/O Registers".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are parts of wider values"
)]

use serde::{Deserialize, Serialize};

use super::{PORTS, Uhci};
use crate::ports::{read_bytes, write_bytes};

const COMMAND: u64 = 0x00;
const STATUS: u64 = 0x02;
const INTERRUPTS: u64 = 0x04;
const FRAME: u64 = 0x06;
const LIST: u64 = 0x08;
const LIST_HIGH: u64 = 0x0a;
const START_OF_FRAME: u64 = 0x0c;
const PORT: u64 = 0x10;
const PORTS_END: u64 = PORT + 2 * PORTS as u64;

/// Commands: run, reset of the controller, reset of all that hangs on it.
const RUN: u16 = 1 << 0;
const RESET: u16 = 1 << 1;
const BUS_RESET: u16 = 1 << 2;
/// Besides these: sleep, waking up, single steps, whether it is set up, and the last packet's length.
const COMMAND_WRITABLE: u16 = 0xf8 | RUN | BUS_RESET;

const INTERRUPT: u16 = 1 << 0;
const ERROR_INTERRUPT: u16 = 1 << 1;
const SYSTEM_ERROR: u16 = 1 << 3;
const PROCESS_ERROR: u16 = 1 << 4;
const HALTED: u16 = 1 << 5;
const STATUS_CLEARABLE: u16 = 0x1f;
/// Resumes are told; no device wakes its host.
const RESUME: u16 = 1 << 2;

/// Which interrupts are enabled: by errors, by resumes, by transfers that ask for them, by short packets.
const ON_ERROR: u16 = 1 << 0;
const ON_RESUME: u16 = 1 << 1;
const ON_COMPLETION: u16 = 1 << 2;
const ON_SHORT: u16 = 1 << 3;

/// Frame numbers have 11 bits, of which the list's index has ten.
const FRAME_MASK: u16 = 0x7ff;
const INDEX_MASK: u16 = 0x3ff;
const LIST_MASK: u32 = 0xffff_f000;
/// A frame of 12000 bit times.
const USUAL_LENGTH: u8 = 0x40;

/// Why the controller stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fatal {
    /// It was told of memory that there is none of.
    System,
    /// It was told of packets that there are none of.
    Process,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    command: u16,
    status: u16,
    interrupts: u16,
    /// The next that is to be gone through.
    frame: u16,
    list: u32,
    length: u8,
    /// Of the interrupt in the status: a transfer asked for it, or a packet was short.
    completed: bool,
    short: bool,
}

impl Default for Registers {
    fn default() -> Registers {
        Registers {
            command: 0,
            status: 0,
            interrupts: 0,
            frame: 0,
            list: 0,
            length: USUAL_LENGTH,
            completed: false,
            short: false,
        }
    }
}

impl Registers {
    pub(super) fn is_sound(&self) -> bool {
        self.command & !COMMAND_WRITABLE == 0
            && self.status & !STATUS_CLEARABLE == 0
            && self.frame <= FRAME_MASK
            && self.list & !LIST_MASK == 0
    }

    pub(super) fn runs(&self) -> bool {
        self.command & RUN != 0
    }

    /// Where the list has what is to be done in the next frame.
    pub(super) fn entry(&self) -> u64 {
        u64::from(self.list) + 4 * u64::from(self.frame & INDEX_MASK)
    }

    /// The number of the frame so many after the next.
    pub(super) fn frame_after(&self, frames: u64) -> u16 {
        self.frame.wrapping_add(frames as u16) & FRAME_MASK
    }

    pub(super) fn pass(&mut self, frames: u64) {
        self.frame = self.frame_after(frames);
    }

    pub(super) fn stand_at(&mut self, frame: u16) {
        self.frame = frame & FRAME_MASK;
    }

    pub(super) fn complete(&mut self) {
        self.status |= INTERRUPT;
        self.completed = true;
    }

    pub(super) fn fall_short(&mut self) {
        self.status |= INTERRUPT;
        self.short = true;
    }

    pub(super) fn err(&mut self) {
        self.status |= ERROR_INTERRUPT;
    }

    pub(super) fn fail(&mut self, why: Fatal) {
        self.command &= !RUN;
        self.status |= match why {
            Fatal::System => SYSTEM_ERROR,
            Fatal::Process => PROCESS_ERROR,
        };
    }

    pub(super) fn wants_interrupt(&self) -> bool {
        let enabled = |bit| self.interrupts & bit != 0;
        let came = |bit| self.status & bit != 0;
        came(SYSTEM_ERROR | PROCESS_ERROR)
            || came(ERROR_INTERRUPT) && enabled(ON_ERROR)
            || came(RESUME) && enabled(ON_RESUME)
            || self.completed && enabled(ON_COMPLETION)
            || self.short && enabled(ON_SHORT)
    }

    fn clear_status(&mut self, value: u16) {
        self.status &= !(value & STATUS_CLEARABLE);
        if value & INTERRUPT != 0 {
            (self.completed, self.short) = (false, false);
        }
    }
}

impl Uhci {
    pub(super) fn read_registers(&self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| {
            self.read_word(at & !1).to_le_bytes()[(at & 1) as usize]
        })
    }

    pub(super) fn write_registers(&mut self, offset: u64, size: u8, value: u64) {
        if size == 1 || !offset.is_multiple_of(2) {
            write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
            return;
        }
        for part in 0..u64::from(size / 2) {
            self.write_word(offset + 2 * part, (value >> (16 * part)) as u16);
        }
    }

    fn read_word(&self, at: u64) -> u16 {
        let registers = &self.registers;
        match at {
            COMMAND => registers.command,
            STATUS if registers.runs() => registers.status,
            STATUS => registers.status | HALTED,
            INTERRUPTS => registers.interrupts,
            FRAME => self.frame_number(),
            LIST => registers.list as u16,
            LIST_HIGH => (registers.list >> 16) as u16,
            START_OF_FRAME => registers.length.into(),
            PORT..PORTS_END => self.ports[((at - PORT) / 2) as usize].read(),
            // Where drivers look for more ports, the bit is clear that ports have set.
            _ => 0,
        }
    }

    /// The other byte of its word stays as it is.
    fn write_byte(&mut self, at: u64, byte: u8) {
        let word = at & !1;
        let kept = self.read_word(word) & !clearable(word);
        let [low, high] = kept.to_le_bytes();
        let bytes = if at == word {
            [byte, high]
        } else {
            [low, byte]
        };
        self.write_word(word, u16::from_le_bytes(bytes));
    }

    fn write_word(&mut self, at: u64, value: u16) {
        let registers = &mut self.registers;
        match at {
            COMMAND => self.write_command(value),
            STATUS => registers.clear_status(value),
            INTERRUPTS => registers.interrupts = value & 0xf,
            FRAME if !registers.runs() => registers.stand_at(value),
            LIST => registers.list = registers.list & !0xffff | u32::from(value) & LIST_MASK,
            LIST_HIGH => registers.list = registers.list & 0xffff | u32::from(value) << 16,
            START_OF_FRAME => registers.length = value as u8 & 0x7f,
            PORT..PORTS_END => self.write_port(((at - PORT) / 2) as usize, value),
            _ => {}
        }
    }

    fn write_command(&mut self, value: u16) {
        if value & RESET != 0 {
            self.reset_controller();
            return;
        }
        let before = self.registers.command;
        if value & BUS_RESET != 0 {
            // For as long as it is set.
            self.reset_bus();
            self.registers.command = value & COMMAND_WRITABLE & !RUN;
            return;
        }
        if before & RUN != 0 && value & RUN == 0 {
            let frame = self.frame_number();
            self.registers.stand_at(frame);
        }
        self.registers.command = value & COMMAND_WRITABLE;
        if before & RUN == 0 && value & RUN != 0 {
            self.begin();
        }
    }

    /// Devices are lost sight of and found again; nobody resets them.
    fn reset_controller(&mut self) {
        self.registers = Registers::default();
        for port in &mut self.ports {
            port.reconnect();
        }
    }
}

/// Bits of a word that are cleared by writing ones.
fn clearable(at: u64) -> u16 {
    match at {
        STATUS => STATUS_CLEARABLE,
        PORT..PORTS_END => super::ports::CHANGES,
        _ => 0,
    }
}
