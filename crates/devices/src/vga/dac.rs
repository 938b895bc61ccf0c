//! Colours: the DAC's 256 of three parts. Spec: IBM VGA Technical Reference, "Video Digital-to-Analog
//! Converter".

use super::state::Dac;

/// As 3C7h tells it.
const READING: u8 = 3;

impl Dac {
    pub(super) fn begin_read(&mut self, index: u8) {
        self.read_index = index;
        self.part = 0;
        self.state = READING;
    }

    pub(super) fn begin_write(&mut self, index: u8) {
        self.write_index = index;
        self.part = 0;
        self.state = 0;
    }

    pub(super) fn read(&mut self) -> u8 {
        let colour = self.palette[usize::from(self.read_index)];
        let value = colour[usize::from(self.part) % 3];
        self.part += 1;
        if self.part >= 3 {
            self.part = 0;
            self.read_index = self.read_index.wrapping_add(1);
        }
        value
    }

    /// A colour changes when its third part has come.
    pub(super) fn write(&mut self, value: u8) {
        self.pending[usize::from(self.part) % 3] = value;
        self.part += 1;
        if self.part >= 3 {
            self.part = 0;
            self.palette[usize::from(self.write_index)] = self.pending;
            self.write_index = self.write_index.wrapping_add(1);
        }
    }

    /// 00RRGGBB. `wide`: parts have 8 bits rather than 6.
    pub(super) fn colour(&self, index: u8, wide: bool) -> u32 {
        let parts = self.palette[usize::from(index & self.mask)];
        let [red, green, blue] = parts.map(|part| {
            if wide {
                part
            } else {
                let part = part & 0x3f;
                part << 2 | part >> 4
            }
        });
        u32::from_be_bytes([0, red, green, blue])
    }
}
