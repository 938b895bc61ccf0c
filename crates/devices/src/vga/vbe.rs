//! Linear modes: an index and a data register, in ports and as MMIO.
//! Spec: Bochs, "VBE Display Extensions" (VBE_DISPI).

use super::Vga;

pub(super) const ID: usize = 0;
pub(super) const WIDTH: usize = 1;
pub(super) const HEIGHT: usize = 2;
pub(super) const BITS: usize = 3;
pub(super) const ENABLE: usize = 4;
pub(super) const BANK: usize = 5;
pub(super) const VIRTUAL_WIDTH: usize = 6;
pub(super) const VIRTUAL_HEIGHT: usize = 7;
pub(super) const X_OFFSET: usize = 8;
pub(super) const Y_OFFSET: usize = 9;
/// Video memory, in units of 64 KiB.
const MEMORY: usize = 10;

const OLDEST: u16 = 0xb0c0;
const NEWEST: u16 = 0xb0c5;
pub(super) const ENABLED: u16 = 1 << 0;
/// Reads of sizes tell the largest.
const CAPABILITIES: u16 = 1 << 1;
pub(super) const WIDE_DAC: u16 = 1 << 5;
const LINEAR: u16 = 1 << 6;
const KEEP_MEMORY: u16 = 1 << 7;

const MAX_WIDTH: u16 = 3840;
const MAX_HEIGHT: u16 = 2400;
const MAX_BITS: u16 = 32;

pub(super) const AT_RESET: [u16; super::state::VBE_REGISTERS] = {
    let mut registers = [0; super::state::VBE_REGISTERS];
    registers[ID] = NEWEST;
    registers
};

/// A linear mode that something else than the guest set: who boots a kernel without firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearMode {
    /// In pixels of 32 bits.
    pub width: u16,
    pub height: u16,
}

impl Vga {
    /// Shows video memory from its first byte on.
    pub fn show_linear(&mut self, mode: LinearMode) {
        // As from power-on: dark, and with nothing of what was.
        for (index, value) in [
            (ENABLE, 0),
            (WIDTH, mode.width),
            (HEIGHT, mode.height),
            (BITS, MAX_BITS),
            (ENABLE, ENABLED | LINEAR),
        ] {
            self.write_vbe(index, value);
        }
        self.place_window();
    }

    /// The index register, and the data register at either of the places that it has had.
    pub(super) fn read_vbe_port(&mut self, port: u16, size: u8) -> Option<u64> {
        let value = match port {
            0x1ce => self.registers.vbe_index,
            0x1cf | 0x1d0 => self.read_vbe(self.registers.vbe_index.into()),
            _ => return None,
        };
        Some(match size {
            1 => u64::from(value & 0xff),
            _ => u64::from(value),
        })
    }

    pub(super) fn write_vbe_port(&mut self, port: u16, _size: u8, value: u64) -> bool {
        let [low, high, ..] = value.to_le_bytes();
        let value = u16::from_le_bytes([low, high]);
        match port {
            0x1ce => self.registers.vbe_index = value,
            0x1cf | 0x1d0 => self.write_vbe(self.registers.vbe_index.into(), value),
            _ => return false,
        }
        true
    }

    pub(super) fn read_vbe(&self, index: usize) -> u16 {
        let capabilities = self.registers.vbe[ENABLE] & CAPABILITIES != 0;
        match index {
            WIDTH if capabilities => MAX_WIDTH,
            HEIGHT if capabilities => MAX_HEIGHT,
            BITS if capabilities => MAX_BITS,
            MEMORY => u16::try_from(self.vram.size() >> 16).unwrap_or(u16::MAX),
            index => self.registers.vbe.get(index).copied().unwrap_or(0),
        }
    }

    pub(super) fn write_vbe(&mut self, index: usize, value: u16) {
        let enabled = self.registers.vbe[ENABLE] & ENABLED != 0;
        let value = match index {
            ID if !(OLDEST..=NEWEST).contains(&value) => return,
            // A mode is set before it is turned on.
            WIDTH if enabled || value > MAX_WIDTH => return,
            HEIGHT if enabled || value > MAX_HEIGHT => return,
            BITS if enabled => return,
            BITS => match value {
                0 => 8,
                4 | 8 | 15 | 16 | 24 | 32 => value,
                _ => return,
            },
            ENABLE => return self.enable(value),
            BANK => value & self.last_bank(),
            VIRTUAL_WIDTH if value < self.registers.vbe[WIDTH] => return,
            ID | WIDTH | HEIGHT | VIRTUAL_WIDTH | X_OFFSET | Y_OFFSET => value,
            _ => return,
        };
        self.registers.vbe[index] = value;
    }

    fn last_bank(&self) -> u16 {
        u16::try_from((self.vram.size() >> 16) - 1).unwrap_or(u16::MAX)
    }

    fn enable(&mut self, value: u16) {
        let was = self.registers.vbe[ENABLE] & ENABLED != 0;
        let vbe = &mut self.registers.vbe;
        vbe[ENABLE] = value;
        if value & ENABLED == 0 || was {
            if value & ENABLED == 0 {
                vbe[BANK] = 0;
            }
            return;
        }
        vbe[VIRTUAL_WIDTH] = vbe[WIDTH];
        vbe[VIRTUAL_HEIGHT] = vbe[HEIGHT];
        (vbe[X_OFFSET], vbe[Y_OFFSET], vbe[BANK]) = (0, 0, 0);
        // A linear mode needs no help of the attribute controller.
        self.registers.attribute_index |= 0x20;
        self.show_window();
        if value & KEEP_MEMORY == 0 {
            self.clear(self.vram.size());
        }
    }

    /// The window at A0000h shows a bank of 64 KiB: bytes in a row, or planes with 4 bits.
    fn show_window(&mut self) {
        let planar = self.registers.vbe[BITS] == 4;
        let registers = &mut self.registers;
        registers.graphics[6] = registers.graphics[6] & !0x0c | 0x05;
        registers.graphics[5] = registers.graphics[5] & !0x60 | if planar { 0 } else { 0x40 };
        registers.sequencer[2] |= 0x0f;
        registers.sequencer[4] = registers.sequencer[4] & !0x08 | 0x06;
        if !planar {
            registers.sequencer[4] |= 0x08;
        }
    }

    /// Where the window begins in video memory, as the window counts.
    pub(super) fn bank(&self) -> u64 {
        let vbe = &self.registers.vbe;
        if vbe[ENABLE] & ENABLED == 0 {
            return 0;
        }
        u64::from(vbe[BANK]) << 16
    }
}
