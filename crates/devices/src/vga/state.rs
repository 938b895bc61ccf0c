//! All that a VGA remembers, but its memory.

use serde::{Deserialize, Serialize};

/// Colours of the DAC, three bytes each.
pub(super) const PALETTE: usize = 256;
pub(super) const VBE_REGISTERS: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) misc: u8,
    pub(super) feature: u8,
    pub(super) sequencer_index: u8,
    pub(super) sequencer: [u8; 8],
    pub(super) crtc_index: u8,
    pub(super) crtc: [u8; 32],
    pub(super) graphics_index: u8,
    pub(super) graphics: [u8; 16],
    /// Bit 5: the palette is the screen's, which is dark otherwise.
    pub(super) attribute_index: u8,
    pub(super) attribute: [u8; 32],
    /// The next write to 3C0h is of data.
    pub(super) attribute_data: bool,
    pub(super) dac: Dac,
    /// What the last read of the window found, by plane.
    pub(super) latch: [u8; 4],
    pub(super) vbe_index: u16,
    pub(super) vbe: [u16; VBE_REGISTERS],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dac {
    pub(super) mask: u8,
    pub(super) read_index: u8,
    pub(super) write_index: u8,
    /// Which part of a colour comes next.
    pub(super) part: u8,
    /// 0 writes, 3 reads, as 3C7h tells it.
    pub(super) state: u8,
    /// Parts of a colour that is not whole yet.
    pub(super) pending: [u8; 3],
    /// [`PALETTE`] colours: red, green, blue.
    pub(super) palette: Vec<[u8; 3]>,
}

impl Registers {
    pub(super) fn at_reset() -> Registers {
        Registers {
            // Colour emulation, with the CRTC at 3D4h.
            misc: 0x67,
            feature: 0,
            sequencer_index: 0,
            sequencer: [0; 8],
            crtc_index: 0,
            crtc: [0; 32],
            graphics_index: 0,
            graphics: [0; 16],
            attribute_index: 0,
            attribute: [0; 32],
            attribute_data: false,
            dac: Dac {
                mask: 0xff,
                read_index: 0,
                write_index: 0,
                part: 0,
                state: 0,
                pending: [0; 3],
                palette: vec![[0; 3]; PALETTE],
            },
            latch: [0; 4],
            vbe_index: 0,
            vbe: super::vbe::AT_RESET,
        }
    }

    /// Of a saved state, which may hold anything.
    pub(super) fn sanitised(mut self) -> Registers {
        self.dac.palette.resize(PALETTE, [0; 3]);
        self.dac.part %= 3;
        self
    }

    pub(super) fn sequencer_at(&self, index: usize) -> u8 {
        self.sequencer[index]
    }
}
