//! The codec's registers. Spec: Audio Codec '97 Revision 2.3, "Mixer Registers", "Extended Audio".

use serde::{Deserialize, Serialize};

const RESET: u64 = 0x00;
const POWER: u64 = 0x26;
/// Converters, mixer and reference are ready.
const POWER_READY: u16 = 0x000f;
const EXTENDED: u64 = 0x28;
/// Rates can be chosen.
const VARIABLE: u16 = 1 << 0;
const EXTENDED_CONTROL: u64 = 0x2a;
const RATE_OUT: u64 = 0x2c;
const RATE_IN: u64 = 0x32;
const VENDOR: u64 = 0x7c;
/// SigmaTel's STAC9700.
const VENDOR_IDS: [u16; 2] = [0x8384, 0x7600];
const RATE: u16 = 48_000;
const LEAST_RATE: u16 = 4000;
const COUNT: usize = 64;

/// What is not zero at power-on: outputs and inputs muted, gains in their middle.
const POWER_ON: [(u64, u16); 16] = [
    (0x02, 0x8000),
    (0x04, 0x8000),
    (0x06, 0x8000),
    (0x0a, 0x0000),
    (0x0c, 0x8008),
    (0x0e, 0x8008),
    (0x10, 0x8808),
    (0x12, 0x8808),
    (0x14, 0x8808),
    (0x16, 0x8808),
    (0x18, 0x8808),
    (0x1c, 0x8000),
    (POWER, POWER_READY),
    (EXTENDED, VARIABLE),
    (RATE_OUT, RATE),
    (RATE_IN, RATE),
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mixer {
    registers: Vec<u16>,
}

impl Mixer {
    pub(super) fn power_on() -> Mixer {
        let mut registers = vec![0; COUNT];
        for (at, value) in POWER_ON {
            registers[index(at)] = value;
        }
        registers[index(VENDOR)..].copy_from_slice(&VENDOR_IDS);
        Mixer { registers }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.registers.len() != COUNT {
            return Err(format!("{} registers of a codec", self.registers.len()));
        }
        Ok(())
    }

    /// Frames a second of in, out and microphone.
    pub(super) fn rates(&self) -> [u32; 3] {
        let variable = self.registers[index(EXTENDED_CONTROL)] & VARIABLE != 0;
        let rate = |at| {
            let rate = if variable {
                self.registers[index(at)]
            } else {
                RATE
            };
            u32::from(rate.max(LEAST_RATE))
        };
        [rate(RATE_IN), rate(RATE_OUT), u32::from(RATE)]
    }

    pub(super) fn read(&self, at: u64) -> u16 {
        self.registers[index(at)]
    }

    pub(super) fn write(&mut self, at: u64, value: u16) {
        let old = self.registers[index(at)];
        let new = match at & !1 {
            RESET => return *self = Mixer::power_on(),
            POWER => value & !POWER_READY | POWER_READY,
            EXTENDED_CONTROL => value & VARIABLE,
            EXTENDED | VENDOR.. => old,
            RATE_OUT | RATE_IN if self.read(EXTENDED_CONTROL) & VARIABLE == 0 => old,
            RATE_OUT | RATE_IN => value.clamp(LEAST_RATE, RATE),
            _ => value,
        };
        self.registers[index(at)] = new;
    }
}

fn index(at: u64) -> usize {
    (at / 2) as usize % COUNT
}
