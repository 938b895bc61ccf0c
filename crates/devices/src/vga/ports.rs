//! Register by register, as ports have them.
//! Spec: IBM VGA Technical Reference, "Registers"; FreeVGA, "Accessing the VGA Registers".

use super::Vga;
use crate::ports::{read_bytes, write_bytes};

/// Of [`super::state::Registers::misc`]: the CRTC is at 3D4h rather than 3B4h.
const COLOUR: u8 = 1 << 0;
/// Of CRTC register 11h: registers 0 to 7 are as they are.
const CRTC_PROTECT: u8 = 1 << 7;
/// Of register 07h, written in spite of that: bit 8 of line compare.
const CRTC_LINE_COMPARE: u8 = 1 << 4;
const ATTRIBUTES: u8 = 0x15;
/// Nanoseconds of a frame of 70 a second, of the retrace in it, and of a line.
const FRAME: u64 = 14_268_000;
const RETRACE: u64 = 1_300_000;
const LINE: u64 = 31_780;

impl Vga {
    /// Reads `size` bytes at a port of [`super::PORTS`].
    pub fn read_port(&mut self, port: u16, size: u8) -> u64 {
        if let Some(value) = self.read_vbe_port(port, size) {
            return value;
        }
        read_bytes(port.into(), size, |at| {
            self.read_register(u16::try_from(at).unwrap_or(u16::MAX))
        })
    }

    /// Writes likewise.
    pub fn write_port(&mut self, port: u16, size: u8, value: u64) {
        if !self.write_vbe_port(port, size, value) {
            write_bytes(port.into(), size, value, |at, byte| {
                self.write_register(u16::try_from(at).unwrap_or(u16::MAX), byte);
            });
        }
        self.place_window();
    }

    /// A port of the emulation that is not on is nobody's.
    fn is_dead(&self, port: u16) -> bool {
        let colour = self.registers.misc & COLOUR != 0;
        match port {
            0x3b0..=0x3bf => colour,
            0x3d0..=0x3df => !colour,
            _ => false,
        }
    }

    fn read_register(&mut self, port: u16) -> u8 {
        if self.is_dead(port) {
            return 0xff;
        }
        let state = &mut self.registers;
        match port {
            // What is to be written there next.
            0x3c0 if !state.attribute_data => state.attribute_index,
            0x3c0 => 0,
            0x3c1 => state.attribute[usize::from(state.attribute_index & 0x1f)],
            // Switch sense: a colour monitor.
            0x3c2 => 0x10,
            0x3c3 => 1,
            0x3c4 => state.sequencer_index,
            0x3c5 => state.sequencer[usize::from(state.sequencer_index & 7)],
            0x3c6 => state.dac.mask,
            0x3c7 => state.dac.state,
            0x3c8 => state.dac.write_index,
            0x3c9 => state.dac.read(),
            0x3ca => state.feature,
            0x3cc => state.misc,
            0x3ce => state.graphics_index,
            0x3cf => state.graphics[usize::from(state.graphics_index & 15)],
            0x3b4 | 0x3d4 => state.crtc_index,
            0x3b5 | 0x3d5 => state.crtc[usize::from(state.crtc_index & 31)],
            0x3ba | 0x3da => self.read_status(),
            _ => 0xff,
        }
    }

    /// Where the beam is: programs wait for the retrace to begin or to end.
    fn read_status(&mut self) -> u8 {
        self.registers.attribute_data = false;
        let now = self.clock.now() % FRAME;
        if now >= FRAME - RETRACE {
            0x09
        } else {
            u8::from(now % LINE > LINE * 4 / 5)
        }
    }

    fn write_register(&mut self, port: u16, value: u8) {
        if self.is_dead(port) {
            return;
        }
        let state = &mut self.registers;
        match port {
            0x3c0 => self.write_attribute(value),
            0x3c2 => state.misc = value,
            0x3c4 => state.sequencer_index = value & 7,
            0x3c5 => {
                // Bits that there are.
                let mask = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff];
                let index = usize::from(state.sequencer_index & 7);
                state.sequencer[index] = value & mask[index];
            }
            0x3c6 => state.dac.mask = value,
            0x3c7 => state.dac.begin_read(value),
            0x3c8 => state.dac.begin_write(value),
            0x3c9 => state.dac.write(value),
            0x3ba | 0x3da => state.feature = value & 0x10,
            0x3ce => state.graphics_index = value & 15,
            0x3cf => {
                let mask = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
                let index = usize::from(state.graphics_index & 15);
                state.graphics[index] = value & mask.get(index).copied().unwrap_or(0);
            }
            0x3b4 | 0x3d4 => state.crtc_index = value & 31,
            0x3b5 | 0x3d5 => self.write_crtc(value),
            _ => {}
        }
    }

    fn write_crtc(&mut self, value: u8) {
        let state = &mut self.registers;
        let index = usize::from(state.crtc_index & 31);
        if state.crtc[0x11] & CRTC_PROTECT != 0 && index <= 7 {
            if index == 7 {
                let rest = state.crtc[7] & !CRTC_LINE_COMPARE;
                state.crtc[7] = rest | value & CRTC_LINE_COMPARE;
            }
            return;
        }
        state.crtc[index] = value;
    }

    fn write_attribute(&mut self, value: u8) {
        let state = &mut self.registers;
        if !state.attribute_data {
            state.attribute_index = value & 0x3f;
        } else {
            let index = state.attribute_index & 0x1f;
            let mask = match index {
                0..=0x0f => 0x3f,
                0x10 => 0xef,
                0x12 => 0x3f,
                0x13 | 0x14 => 0x0f,
                _ => 0xff,
            };
            if index < ATTRIBUTES {
                state.attribute[usize::from(index)] = value & mask;
            }
        }
        state.attribute_data = !state.attribute_data;
    }
}
