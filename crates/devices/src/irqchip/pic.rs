//! The pair of 8259A interrupt controllers of a PC, with the edge/level registers of EISA.
//!
//! Spec: Intel 8259A datasheet; Intel ICH datasheet, "8259 Interrupt Controllers" and "ELCR1/ELCR2".
//!
//! Requests are latched: a pulse shorter than the way to the CPU is still an interrupt, because
//! devices here pulse a line in no time at all. The datasheet's chip would answer such a pulse with
//! a spurious IRQ7. IRQ7 and IRQ15 are answered when the guest masks or a level line falls between
//! request and acknowledge.

pub mod exchange;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, PortRange, RestoreError, decode_state, encode_state};

/// Master, slave and ELCR.
pub const PORTS: [PortRange; 3] = [
    PortRange {
        first: 0x20,
        count: 2,
        offset: 0,
    },
    PortRange {
        first: 0xa0,
        count: 2,
        offset: 0x10,
    },
    PortRange {
        first: 0x4d0,
        count: 2,
        offset: 0x20,
    },
];

const KIND: &str = "pic";
const VERSION: u16 = 1;

/// The master's input that the slave drives.
const CASCADE: u8 = 2;
/// IRQ 0, 1, 2 and 8, 13 are always edge-triggered.
const ELCR_WRITABLE: [u8; 2] = [0xf8, 0xde];

const ICW1_IC4: u8 = 1 << 0;
const ICW1_SINGLE: u8 = 1 << 1;
const ICW1: u8 = 1 << 4;
const ICW4_AUTO_EOI: u8 = 1 << 1;
const ICW4_SPECIAL_NESTED: u8 = 1 << 4;
const OCW3: u8 = 1 << 3;

/// Which initialisation word comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Expect {
    #[default]
    Operation,
    Icw2,
    Icw3,
    Icw4,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Chip {
    irr: u8,
    isr: u8,
    imr: u8,
    /// Input levels, to find edges.
    levels: u8,
    elcr: u8,
    expect: Expect,
    single: bool,
    wants_icw4: bool,
    vector_base: u8,
    cascade: u8,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    special_nested: bool,
    poll: bool,
    read_isr: bool,
    /// The input of highest priority.
    first: u8,
}

impl Chip {
    fn set_line(&mut self, input: u8, high: bool, level_triggered: bool) {
        let bit = 1 << (input & 7);
        let rising = high && self.levels & bit == 0;
        self.levels = if high {
            self.levels | bit
        } else {
            self.levels & !bit
        };
        if level_triggered {
            self.irr = self.irr & !bit | self.levels & bit;
        } else if rising {
            self.irr |= bit;
        }
    }

    /// The most urgent of `inputs`, and how many inputs are more urgent.
    fn most_urgent(&self, inputs: u8) -> Option<(u8, u32)> {
        let rank = inputs
            .rotate_right(u32::from(self.first & 7))
            .trailing_zeros();
        // `rank` is 8 when there is none, else below 8.
        let step = u8::try_from(rank).ok().filter(|&step| step < 8)?;
        Some((self.first.wrapping_add(step) & 7, rank))
    }

    /// The input that requests service now. Spec: 8259A, "Fully nested mode", "Special mask mode".
    fn request(&self) -> Option<u8> {
        let (input, rank) = self.most_urgent(self.irr & !self.imr)?;
        let mut in_service = self.isr;
        if self.special_mask {
            in_service &= !self.imr;
        }
        if self.special_nested {
            in_service &= !(1 << CASCADE);
        }
        match self.most_urgent(in_service) {
            Some((_, serving)) if rank >= serving => None,
            _ => Some(input),
        }
    }

    fn enter_service(&mut self, input: u8, level_triggered: bool) {
        let bit = 1 << (input & 7);
        if !level_triggered {
            self.irr &= !bit;
        }
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_on_auto_eoi {
            self.first = input.wrapping_add(1) & 7;
        }
    }

    fn write_icw1(&mut self, value: u8) {
        // A level input still asks; edges must come anew.
        self.irr &= self.levels & self.elcr;
        self.imr = 0;
        self.isr = 0;
        self.first = 0;
        self.auto_eoi = false;
        self.rotate_on_auto_eoi = false;
        self.special_mask = false;
        self.special_nested = false;
        self.poll = false;
        self.read_isr = false;
        self.single = value & ICW1_SINGLE != 0;
        self.wants_icw4 = value & ICW1_IC4 != 0;
        self.expect = Expect::Icw2;
    }

    /// Spec: 8259A, "Operation command word 2".
    fn write_ocw2(&mut self, value: u8) {
        let named = value & 7;
        let most_urgent_served = || {
            let served = if self.special_mask {
                self.isr & !self.imr
            } else {
                self.isr
            };
            self.most_urgent(served).map(|(input, _)| input)
        };
        let (ended, rotate) = match value >> 5 {
            0b000 | 0b100 => {
                self.rotate_on_auto_eoi = value >> 5 == 0b100;
                return;
            }
            0b110 => {
                self.first = (named + 1) & 7;
                return;
            }
            0b001 => (most_urgent_served(), false),
            0b101 => (most_urgent_served(), true),
            0b011 => (Some(named), false),
            0b111 => (Some(named), true),
            _ => return,
        };
        let Some(input) = ended else { return };
        self.isr &= !(1 << input);
        if rotate {
            self.first = (input + 1) & 7;
        }
    }

    fn write_ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        if value & 0x04 != 0 {
            self.poll = true;
        }
        if value & 0x02 != 0 {
            self.read_isr = value & 0x01 != 0;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.write_icw1(value);
        } else if value & OCW3 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value);
        }
    }

    fn write_data(&mut self, value: u8) {
        let after_icw3 = if self.wants_icw4 {
            Expect::Icw4
        } else {
            Expect::Operation
        };
        self.expect = match self.expect {
            Expect::Operation => {
                self.imr = value;
                Expect::Operation
            }
            Expect::Icw2 => {
                self.vector_base = value & 0xf8;
                if self.single {
                    after_icw3
                } else {
                    Expect::Icw3
                }
            }
            Expect::Icw3 => {
                self.cascade = value;
                after_icw3
            }
            Expect::Icw4 => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.special_nested = value & ICW4_SPECIAL_NESTED != 0;
                Expect::Operation
            }
        };
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PicStateV1 {
    master: Chip,
    slave: Chip,
}

/// Both chips. `intr` is the INTR wire to the processors.
#[derive(Debug)]
pub struct Pic {
    master: Chip,
    slave: Chip,
    intr: Arc<dyn Line>,
    intr_high: bool,
}

impl Pic {
    #[must_use]
    pub fn new(intr: Arc<dyn Line>) -> Pic {
        Pic {
            master: Chip::default(),
            slave: Chip::default(),
            intr,
            intr_high: false,
        }
    }

    /// Sets interrupt input `irq`, 0 to 15; input 2 is the cascade and nobody else's.
    pub fn set_irq(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE | 16.. => return,
            0..8 => {
                let level = self.master.elcr & 1 << irq != 0;
                self.master.set_line(irq, high, level);
            }
            8..16 => {
                let level = self.slave.elcr & 1 << (irq - 8) != 0;
                self.slave.set_line(irq - 8, high, level);
            }
        }
        self.update();
    }

    /// What INTR says: is there something for a processor to acknowledge?
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.intr_high
    }

    /// The processor's two INTA cycles: the vector to run. Without a request it is the spurious
    /// one, IRQ7 of the chip that was asked. Spec: 8259A, "Interrupt sequence".
    pub fn acknowledge(&mut self) -> u8 {
        let vector = match self.master.request() {
            None => self.master.vector_base | 7,
            Some(CASCADE) => {
                self.master.enter_service(CASCADE, true);
                match self.slave.request() {
                    None => self.slave.vector_base | 7,
                    Some(input) => {
                        let level = self.slave.elcr & 1 << input != 0;
                        self.slave.enter_service(input, level);
                        self.slave.vector_base | input
                    }
                }
            }
            Some(input) => {
                let level = self.master.elcr & 1 << input != 0;
                self.master.enter_service(input, level);
                self.master.vector_base | input
            }
        };
        self.update();
        vector
    }

    /// The cascade follows the slave's request like a level input: it falls when the slave has been
    /// acknowledged and rises for the slave's next request, which is what the wire does.
    fn update(&mut self) {
        let cascade = self.slave.request().is_some();
        self.master.set_line(CASCADE, cascade, true);
        let high = self.master.request().is_some();
        if high != self.intr_high {
            self.intr_high = high;
            self.intr.set(high);
        }
    }

    /// Spec: 8259A, "Poll command": the read is the acknowledge.
    fn poll(chip: &mut Chip, cascade: bool) -> u8 {
        chip.poll = false;
        let Some(input) = chip.request() else {
            return 7;
        };
        let level = chip.elcr & 1 << input != 0 || (cascade && input == CASCADE);
        chip.enter_service(input, level);
        0x80 | input
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let (chip, cascade) = match offset {
            0 | 1 => (&mut self.master, true),
            0x10 | 0x11 => (&mut self.slave, false),
            0x20 => return self.master.elcr,
            0x21 => return self.slave.elcr,
            _ => return 0xff,
        };
        if chip.poll {
            let answer = Pic::poll(chip, cascade);
            self.update();
            return answer;
        }
        match offset & 1 {
            1 => chip.imr,
            _ if chip.read_isr => chip.isr,
            _ => chip.irr,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        match offset {
            0 => self.master.write_command(value),
            1 => self.master.write_data(value),
            0x10 => self.slave.write_command(value),
            0x11 => {
                self.slave.write_data(value);
                // Only a master has a cascade to nest.
                self.slave.special_nested = false;
            }
            0x20 => self.master.elcr = value & ELCR_WRITABLE[0],
            0x21 => self.slave.elcr = value & ELCR_WRITABLE[1],
            _ => return,
        }
        self.update();
    }
}

impl Device for Pic {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| self.read_byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
    }

    fn reset(&mut self) {
        // Inputs are driven by others, who lower theirs in their own reset.
        for chip in [&mut self.master, &mut self.slave] {
            *chip = Chip {
                levels: chip.levels,
                ..Chip::default()
            };
        }
        self.update();
    }

    fn save(&self) -> DeviceState {
        let value = PicStateV1 {
            master: self.master.clone(),
            slave: self.slave.clone(),
        };
        encode_state(KIND, VERSION, &value)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let value: PicStateV1 = decode_state(KIND, VERSION, state)?;
        self.master = value.master;
        self.slave = value.slave;
        self.master.first &= 7;
        self.slave.first &= 7;
        self.update();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
