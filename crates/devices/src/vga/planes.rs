//! The window at A0000h: reads and writes of four planes at once.
//! Spec: IBM VGA Technical Reference, "Graphics Controller"; FreeVGA, "Graphics Registers".

use super::{Vga, WINDOW_LEN};
use crate::ports::{read_bytes, write_bytes};

const SEQUENCER_MAP_MASK: usize = 2;
const SEQUENCER_MEMORY: usize = 4;
/// Of the memory mode: addresses count through the planes; they do not alternate between two.
const CHAIN_4: u8 = 1 << 3;
const SEQUENTIAL: u8 = 1 << 2;
/// Of the graphics mode register: reads alternate between two planes.
const READ_ODD_EVEN: u8 = 1 << 4;
const READ_COMPARE: u8 = 1 << 3;

/// A byte for each plane, from a bit for each.
fn spread(bits: u8) -> u32 {
    (0..4).fold(0, |planes, plane| {
        planes | (u32::from(bits >> plane & 1) * 0xff) << (8 * plane)
    })
}

fn all_planes(byte: u8) -> u32 {
    u32::from(byte) * 0x0101_0101
}

impl Vga {
    /// Reads `size` bytes, `offset` from A0000h on; all-ones where the window does not answer.
    pub fn read_window(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| self.read_byte(at))
    }

    pub fn write_window(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
    }

    /// Where the window begins that answers, and how long it is.
    pub(super) fn window_range(&self) -> (u64, u64) {
        match self.registers.graphics[6] >> 2 & 3 {
            0 => (0, WINDOW_LEN),
            1 => (0, 0x1_0000),
            2 => (0x1_0000, 0x8000),
            _ => (0x1_8000, 0x8000),
        }
    }

    /// Is each byte of the window the same of video memory?
    pub(super) fn is_linear(&self) -> bool {
        let chained = self.registers.sequencer_at(SEQUENCER_MEMORY) & CHAIN_4 != 0;
        chained && self.registers.sequencer_at(SEQUENCER_MAP_MASK) & 0xf == 0xf
    }

    /// Which address of video memory the window shows there.
    fn window_address(&self, offset: u64) -> Option<u64> {
        let (first, len) = self.window_range();
        let address = offset.checked_sub(first).filter(|at| *at < len)?;
        Some(address + self.bank())
    }

    fn planes(&self, address: u64) -> u32 {
        let mut bytes = [0; 4];
        self.vram.read(address * 4, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn byte_at(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.vram.read(at, &mut byte);
        byte[0]
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let Some(address) = self.window_address(offset) else {
            return 0xff;
        };
        let memory = self.registers.sequencer_at(SEQUENCER_MEMORY);
        if memory & CHAIN_4 != 0 {
            return self.byte_at(address);
        }
        let mode = self.registers.graphics[5];
        let select = u64::from(self.registers.graphics[4] & 3);
        if mode & READ_ODD_EVEN != 0 {
            let plane = select & 2 | address & 1;
            return self.byte_at((address >> 1) * 4 + plane);
        }
        let planes = self.planes(address);
        self.registers.latch = planes.to_le_bytes();
        if mode & READ_COMPARE == 0 {
            return self.registers.latch[usize::from(self.registers.graphics[4] & 3)];
        }
        let wanted = spread(self.registers.graphics[2]);
        let cared = spread(self.registers.graphics[7]);
        let differ = ((planes ^ wanted) & cared).to_le_bytes();
        !differ.iter().fold(0, |all, plane| all | plane)
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let Some(address) = self.window_address(offset) else {
            return;
        };
        let memory = self.registers.sequencer_at(SEQUENCER_MEMORY);
        let map_mask = self.registers.sequencer_at(SEQUENCER_MAP_MASK);
        if memory & CHAIN_4 != 0 {
            if map_mask & 1 << (address & 3) != 0 {
                self.vram.write(address, &[value]);
            }
        } else if memory & SEQUENTIAL == 0 {
            for plane in [address & 1, address & 1 | 2] {
                if map_mask & 1 << plane != 0 {
                    self.vram.write((address >> 1) * 4 + plane, &[value]);
                }
            }
        } else {
            let mask = spread(map_mask);
            let new = self.written(value) & mask;
            let old = if map_mask & 0xf == 0xf {
                0
            } else {
                self.planes(address) & !mask
            };
            self.vram.write(address * 4, &(new | old).to_le_bytes());
        }
    }

    /// What a write makes of its byte and the latches.
    fn written(&self, value: u8) -> u32 {
        let graphics = &self.registers.graphics;
        let latch = u32::from_le_bytes(self.registers.latch);
        let set = spread(graphics[0]);
        let rotated = value.rotate_right(u32::from(graphics[3] & 7));
        let (value, bits) = match graphics[5] & 3 {
            1 => return latch,
            0 => {
                let enabled = spread(graphics[1]);
                let value = all_planes(rotated) & !enabled | set & enabled;
                (value, graphics[8])
            }
            2 => (spread(value), graphics[8]),
            _ => (set, graphics[8] & rotated),
        };
        let value = match graphics[3] >> 3 & 3 {
            0 => value,
            1 => value & latch,
            2 => value | latch,
            _ => value ^ latch,
        };
        let bits = all_planes(bits);
        value & bits | latch & !bits
    }
}
