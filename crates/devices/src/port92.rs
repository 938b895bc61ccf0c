//! System Control Port A (I/O port 92h): fast A20 gate and fast reset.
//!
//! Spec: Intel ICH datasheet, register PORT92 "Fast A20 and Init".

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Lines, PortRange, RestoreError, decode_state, encode_state};

pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x92,
    count: 1,
    offset: 0,
}];

const KIND: &str = "port92";
const VERSION: u16 = 1;

const INIT_NOW: u8 = 1 << 0;
const ALT_A20_GATE: u8 = 1 << 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Port92StateV1 {
    register: u8,
}

/// The machine starts with A20 open, as firmware leaves it.
#[derive(Debug)]
pub struct Port92 {
    state: Port92StateV1,
    lines: Arc<dyn Lines>,
}

impl Port92 {
    #[must_use]
    pub fn new(lines: Arc<dyn Lines>) -> Port92 {
        let state = Port92StateV1 {
            register: ALT_A20_GATE,
        };
        Port92 { state, lines }
    }

    fn write_register(&mut self, value: u8) {
        let rising = value & !self.state.register;
        let changed = value ^ self.state.register;
        self.state.register = value & (INIT_NOW | ALT_A20_GATE);
        if changed & ALT_A20_GATE != 0 {
            self.lines.set_a20(value & ALT_A20_GATE != 0);
        }
        // Edge, not level: BIOSes leave the bit set and would reset for ever.
        if rising & INIT_NOW != 0 {
            self.lines.reset();
        }
    }
}

impl Device for Port92 {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, _offset: u64, size: u8) -> u64 {
        read_bytes(0, size, |at| match at {
            0 => self.state.register,
            _ => 0xff,
        })
    }

    fn write(&mut self, _offset: u64, size: u8, value: u64) {
        write_bytes(0, size, value, |at, byte| {
            if at == 0 {
                self.write_register(byte);
            }
        });
    }

    fn reset(&mut self) {
        self.state.register = ALT_A20_GATE;
        self.lines.set_a20(true);
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_state(KIND, VERSION, state)?;
        self.lines.set_a20(self.state.register & ALT_A20_GATE != 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
