//! The parallel port of a PC (LPT1), and a printer whose paper is a file.
//!
//! Each byte that the guest strobes is appended to the file at once; the printer acknowledges it when the strobe
//! ends, so it is never busy. When the paper is used up, or none is in, the printer says so as printers do.
//! There is neither EPP nor ECP: their registers are not there, and read all-ones.
//! Spec: IEEE 1284, "Compatibility Mode"; Intel 82091AA datasheet, "Parallel Port", "ISA-Compatible and PS/2-Compatible
//! Modes".

mod paper;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use paper::Paper;

use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, PortRange, RestoreError, decode_state, encode_state};

/// Data, status and control of LPT1.
pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x378,
    count: 3,
    offset: 0,
}];

const KIND: &str = "parallel";
const VERSION: u16 = 1;

const DATA: u64 = 0;
const STATUS: u64 = 1;
const CONTROL: u64 = 2;

/// Status. Unnamed bits read as set; the wire of the busy signal is inverted.
const STATUS_NOT_BUSY: u8 = 1 << 7;
const STATUS_NO_ACK: u8 = 1 << 6;
const STATUS_PAPER_OUT: u8 = 1 << 5;
const STATUS_SELECTED: u8 = 1 << 4;
const STATUS_NO_ERROR: u8 = 1 << 3;
const STATUS_NO_INTERRUPT: u8 = 1 << 2;
const STATUS_UNUSED: u8 = 0b11;

/// Control: strobe, initialise (low resets the printer), select, interrupts, data lines are inputs.
const CONTROL_STROBE: u8 = 1 << 0;
const CONTROL_INITIALISE: u8 = 1 << 2;
const CONTROL_SELECT: u8 = 1 << 3;
const CONTROL_INTERRUPTS: u8 = 1 << 4;
const CONTROL_INPUT: u8 = 1 << 5;
const CONTROL_WRITABLE: u8 = 0x3f;
const CONTROL_UNUSED: u8 = 0xc0;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ParallelStateV1 {
    data: u8,
    control: u8,
    /// A byte was acknowledged, and nobody has looked yet.
    interrupt: bool,
}

impl ParallelStateV1 {
    /// The printer is on, and nothing is asked of it.
    const POWER_ON: ParallelStateV1 = ParallelStateV1 {
        data: 0,
        control: CONTROL_INITIALISE | CONTROL_SELECT,
        interrupt: false,
    };
}

/// The port with its printer.
#[derive(Debug)]
pub struct Parallel {
    state: ParallelStateV1,
    line: Arc<dyn Line>,
    paper: Paper,
}

impl Parallel {
    /// `line` is ISA interrupt 7.
    #[must_use]
    pub fn new(line: Arc<dyn Line>, paper: Paper) -> Parallel {
        Parallel {
            state: ParallelStateV1::POWER_ON,
            line,
            paper,
        }
    }

    fn status(&mut self) -> u8 {
        let mut status = STATUS_NOT_BUSY | STATUS_NO_ACK | STATUS_SELECTED | STATUS_UNUSED;
        status |= match self.paper.is_out() {
            true => STATUS_PAPER_OUT,
            false => STATUS_NO_ERROR,
        };
        if !self.state.interrupt {
            status |= STATUS_NO_INTERRUPT;
        }
        // As PS/2 ports have it, so that the next one is an edge.
        self.interrupt(false);
        status
    }

    fn set_control(&mut self, control: u8) {
        let control = control & CONTROL_WRITABLE;
        let changed = self.state.control ^ control;
        self.state.control = control;
        if changed & CONTROL_STROBE != 0 {
            if control & CONTROL_STROBE != 0 {
                self.strobe();
            } else {
                self.interrupt(control & CONTROL_INTERRUPTS != 0);
            }
        } else if control & CONTROL_INTERRUPTS == 0 {
            self.interrupt(false);
        }
    }

    /// The printer takes what is on the data lines.
    fn strobe(&mut self) {
        self.interrupt(false);
        let listens = self.state.control & CONTROL_INITIALISE != 0;
        let driven = self.state.control & CONTROL_INPUT == 0;
        if listens && driven {
            self.paper.print(self.state.data);
        }
    }

    fn interrupt(&mut self, high: bool) {
        self.state.interrupt = high;
        self.line.set(high);
    }
}

impl Device for Parallel {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| match at {
            // Nobody drives the lines where the port does not.
            DATA if self.state.control & CONTROL_INPUT != 0 => 0xff,
            DATA => self.state.data,
            STATUS => self.status(),
            CONTROL => self.state.control | CONTROL_UNUSED,
            _ => 0xff,
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| match at {
            DATA => self.state.data = byte,
            CONTROL => self.set_control(byte),
            _ => {}
        });
    }

    fn reset(&mut self) {
        self.state = ParallelStateV1::POWER_ON;
        self.line.set(false);
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: ParallelStateV1 = decode_state(KIND, VERSION, state)?;
        self.state = state;
        self.state.control &= CONTROL_WRITABLE;
        self.line.set(self.state.interrupt);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
