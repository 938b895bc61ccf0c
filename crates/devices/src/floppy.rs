//! The floppy disk controller: an 82078 with one drive of 3.5 or 5.25 inches, by ISA DMA.
//!
//! A command runs in whole when its last byte is written, so nothing is ever under way: what a drive turns
//! and steps for takes no time. Disks have the formats that PCs knew, told from the image's length.
//! Spec: Intel 82078 datasheet, "Register Set", "Command Set"; Intel 82371SB (PIIX3) datasheet.
#![allow(
    clippy::cast_possible_truncation,
    reason = "cylinders, heads and sectors are bytes"
)]

mod command;
mod format;
mod tray;

use std::sync::Arc;

use block::BlockDevice;
use serde::{Deserialize, Serialize};

use crate::isa_dma::DmaChannel;
use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, PortRange, RestoreError, decode_state, encode_state};

pub use format::Format;
pub use tray::FloppyTray;

/// All registers but the fixed disk's between them.
pub const PORTS: [PortRange; 2] = [
    PortRange {
        first: 0x3f0,
        count: 6,
        offset: 0,
    },
    PortRange {
        first: 0x3f7,
        count: 1,
        offset: 7,
    },
];

const KIND: &str = "floppy";
const VERSION: u16 = 1;

/// Digital output: drives run, interrupts and DMA are let through, motors.
const OUT_RUN: u8 = 1 << 2;
const OUT_GATE: u8 = 1 << 3;
/// Main status: ready for a byte; to be read; in a command.
const MAIN_READY: u8 = 1 << 7;
const MAIN_READ: u8 = 1 << 6;
const MAIN_BUSY: u8 = 1 << 4;
/// Data rate select: reset, which clears itself.
const RATE_RESET: u8 = 1 << 7;
/// Digital input: the door was opened since the heads were last moved.
const IN_CHANGED: u8 = 1 << 7;
/// Drives that a reset has something to say of.
const DRIVES: u8 = 4;
/// No command has more bytes, nor has an answer.
const LONGEST: usize = 16;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FloppyStateV1 {
    output: u8,
    rate: u8,
    tape: u8,
    /// Bytes of a command so far.
    command: Vec<u8>,
    /// What is left of its answer.
    answer: Vec<u8>,
    interrupt: bool,
    /// Status 0 of what SENSE INTERRUPT STATUS is to tell, in order.
    told: Vec<u8>,
    /// Where the heads are.
    cylinder: u8,
    /// Where READ ID finds itself.
    sector: u8,
    changed: bool,
    /// What DUMPREG shows: of SPECIFY, CONFIGURE, PERPENDICULAR MODE and LOCK.
    specified: [u8; 2],
    configured: [u8; 2],
    perpendicular: u8,
    locked: bool,
}

/// What the controller is wired to.
#[derive(Debug, Clone)]
pub struct FloppyParts {
    /// ISA interrupt 6.
    pub irq: Arc<dyn Line>,
    /// Channel 2.
    pub dma: DmaChannel,
}

#[derive(Debug)]
pub struct Floppy {
    state: FloppyStateV1,
    disk: Option<(Arc<dyn BlockDevice>, Format)>,
    parts: FloppyParts,
}

impl Floppy {
    /// With a disk in the drive, or without one. A disk of no known format is not there.
    #[must_use]
    pub fn new(disk: Option<Arc<dyn BlockDevice>>, parts: FloppyParts) -> Floppy {
        let mut floppy = Floppy {
            state: FloppyStateV1::default(),
            disk: None,
            parts,
        };
        floppy.insert(disk);
        floppy.power_on();
        floppy
    }

    /// Puts another disk in, or takes it out. False for a disk of no known format: nothing has changed then.
    pub fn change_disk(&mut self, disk: Option<Arc<dyn BlockDevice>>) -> bool {
        if disk
            .as_ref()
            .is_some_and(|disk| Format::of(disk.len()).is_none())
        {
            return false;
        }
        if let Some((before, _)) = &self.disk {
            // The guest was told that it is written, and whoever takes it out cannot mend it either.
            let _ = before.flush();
        }
        self.insert(disk);
        self.state.changed = true;
        true
    }

    fn insert(&mut self, disk: Option<Arc<dyn BlockDevice>>) {
        self.disk = disk.and_then(|disk| {
            let format = Format::of(disk.len())?;
            Some((disk, format))
        });
    }

    fn power_on(&mut self) {
        self.state = FloppyStateV1 {
            output: OUT_RUN | OUT_GATE,
            changed: true,
            sector: 1,
            ..FloppyStateV1::default()
        };
        self.drive_line();
    }

    /// Of the controller alone: the drive stays as it is.
    fn reset_controller(&mut self) {
        self.state.command.clear();
        self.state.answer.clear();
        if !self.state.locked {
            self.state.configured = [0; 2];
        }
        self.state.told = (0..DRIVES).map(|drive| command::POLLED | drive).collect();
        self.interrupt();
    }

    fn interrupt(&mut self) {
        self.state.interrupt = true;
        self.drive_line();
    }

    fn calm(&mut self) {
        self.state.interrupt = false;
        self.drive_line();
    }

    fn drive_line(&self) {
        let open = self.state.output & OUT_GATE != 0;
        self.parts.irq.set(self.state.interrupt && open);
    }

    fn byte(&mut self, offset: u64) -> u8 {
        match offset {
            2 => self.state.output,
            3 => self.state.tape,
            4 => self.main_status(),
            5 => self.next_answer(),
            7 if self.state.changed => IN_CHANGED,
            7 => 0,
            _ => 0xff,
        }
    }

    fn main_status(&self) -> u8 {
        if self.state.output & OUT_RUN == 0 {
            0
        } else if !self.state.answer.is_empty() {
            MAIN_READY | MAIN_READ | MAIN_BUSY
        } else if self.state.command.is_empty() {
            MAIN_READY
        } else {
            MAIN_READY | MAIN_BUSY
        }
    }

    fn next_answer(&mut self) -> u8 {
        if self.state.answer.is_empty() {
            return 0xff;
        }
        self.calm();
        self.state.answer.remove(0)
    }

    fn put(&mut self, offset: u64, value: u8) {
        match offset {
            2 => {
                let before = std::mem::replace(&mut self.state.output, value);
                if value & OUT_RUN == 0 {
                    self.state.command.clear();
                    self.state.answer.clear();
                    self.calm();
                } else if before & OUT_RUN == 0 {
                    self.reset_controller();
                }
                self.drive_line();
            }
            3 => self.state.tape = value & 3,
            4 => {
                self.state.rate = value & !RATE_RESET;
                if value & RATE_RESET != 0 {
                    self.reset_controller();
                }
            }
            5 => self.take(value),
            7 => self.state.rate = self.state.rate & !3 | value & 3,
            _ => {}
        }
    }

    /// A byte of a command.
    fn take(&mut self, value: u8) {
        if self.state.output & OUT_RUN == 0 || !self.state.answer.is_empty() {
            return;
        }
        self.state.command.push(value);
        let first = self.state.command.first().copied().unwrap_or(value);
        if self.state.command.len() >= command::length(first) {
            let command = std::mem::take(&mut self.state.command);
            self.run(&command);
        }
    }
}

impl Device for Floppy {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| self.byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.put(at, byte));
    }

    fn reset(&mut self) {
        self.power_on();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: FloppyStateV1 = decode_state(KIND, VERSION, state)?;
        let lists = [&state.command, &state.answer, &state.told];
        if lists.iter().any(|list| list.len() > LONGEST) {
            return Err(RestoreError::Damaged {
                kind: KIND.into(),
                what: "a command or an answer of too many bytes".into(),
            });
        }
        self.state = state;
        self.drive_line();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
