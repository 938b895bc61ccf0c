//! What the registers say that is shown: size, kind, and where in video memory it lies.
//! Spec: IBM VGA Technical Reference, "CRT Controller Registers", "Modes of Operation".

use super::state::Registers;
use super::vbe;

/// Of the attribute index: the palette is the screen's.
const PALETTE_ON: u8 = 1 << 5;
/// Of the sequencer's clocking mode.
const EIGHT_DOTS: u8 = 1 << 0;
const HALF_CLOCK: u8 = 1 << 3;
const SCREEN_OFF: u8 = 1 << 5;
/// Of CRTC register 17h: row scan bit 0 is not address bit 13; counting is in bytes.
const NO_CGA_ROWS: u8 = 1 << 0;
const BYTE_MODE: u8 = 1 << 6;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Dark,
    Text(Raster),
    /// Bits of four planes.
    Planar(Raster),
    /// Pairs of bits, as CGA has them.
    Pairs(Raster),
    /// A byte is two dots wide.
    Bytes(Raster),
    Linear(Linear),
    /// As [`Shown::Planar`], of a linear mode's size.
    LinearPlanar(Linear),
}

/// How the beam goes through video memory, in a VGA's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raster {
    /// Characters, or units of eight dots, in a row.
    pub(super) columns: u32,
    /// Dots of each.
    pub(super) dots: u32,
    /// Each dot is so many pixels wide.
    pub(super) stretch: u32,
    pub(super) lines: u32,
    /// Address of the first unit, and how far apart rows are.
    pub(super) start: u32,
    pub(super) pitch: u32,
    /// Lines of a row, and which comes first.
    pub(super) row_lines: u32,
    pub(super) first_line: u32,
    /// Each is drawn twice.
    pub(super) doubled: bool,
    /// From this line on, it is address 0 again.
    pub(super) split: u32,
    /// Dots by which all is moved to the left.
    pub(super) panning: u32,
    /// What an odd line of a row adds to the address.
    pub(super) odd_rows: u32,
}

/// A linear mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Linear {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bits: u32,
    /// In bytes.
    pub(super) start: u64,
    pub(super) pitch: u64,
}

impl Shown {
    pub(super) fn of(registers: &Registers) -> Shown {
        if registers.vbe[vbe::ENABLE] & vbe::ENABLED != 0 {
            return linear(registers);
        }
        let off = registers.sequencer[1] & SCREEN_OFF != 0;
        if registers.attribute_index & PALETTE_ON == 0 || off || registers.crtc[1] == 0 {
            return Shown::Dark;
        }
        let raster = raster(registers);
        if registers.graphics[6] & 1 == 0 {
            return Shown::Text(raster);
        }
        match registers.graphics[5] >> 5 & 3 {
            0 => Shown::Planar(raster),
            1 => Shown::Pairs(raster),
            _ => Shown::Bytes(raster),
        }
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        match self {
            Shown::Dark => (720, 400),
            Shown::Text(raster) | Shown::Planar(raster) | Shown::Pairs(raster) => raster.size(),
            Shown::Bytes(raster) => raster.size(),
            Shown::Linear(linear) | Shown::LinearPlanar(linear) => (linear.width, linear.height),
        }
    }
}

impl Raster {
    fn size(&self) -> (u32, u32) {
        (self.columns * self.dots * self.stretch, self.lines)
    }
}

fn linear(registers: &Registers) -> Shown {
    let register = |index: usize| u32::from(registers.vbe[index]);
    let (width, height) = (register(vbe::WIDTH), register(vbe::HEIGHT));
    if width == 0 || height == 0 {
        return Shown::Dark;
    }
    let bits = register(vbe::BITS);
    // Of what counts as a row: a plane's bits, or pixels.
    let bytes = |pixels: u32| match bits {
        4 => u64::from(pixels / 8) * 4,
        15 => u64::from(pixels) * 2,
        bits => u64::from(pixels) * u64::from(bits / 8),
    };
    let pitch = bytes(register(vbe::VIRTUAL_WIDTH));
    let linear = Linear {
        width,
        height,
        bits,
        pitch,
        start: u64::from(register(vbe::Y_OFFSET)) * pitch + bytes(register(vbe::X_OFFSET)),
    };
    if bits == 4 {
        Shown::LinearPlanar(linear)
    } else {
        Shown::Linear(linear)
    }
}

fn raster(registers: &Registers) -> Raster {
    let crtc = |index: usize| u32::from(registers.crtc[index]);
    let bit = |value: u32, from: u32, to: u32| (value >> from & 1) << to;
    let overflow = crtc(7);
    let graphics = registers.graphics[6] & 1 != 0;
    let nine = registers.sequencer[1] & EIGHT_DOTS == 0 && !graphics;
    let half = registers.sequencer[1] & HALF_CLOCK != 0;
    let byte_mode = registers.crtc[0x17] & BYTE_MODE != 0;
    let cga = registers.crtc[0x17] & NO_CGA_ROWS == 0;
    Raster {
        columns: crtc(1) + 1,
        dots: if nine { 9 } else { 8 },
        stretch: if half { 2 } else { 1 },
        lines: 1 + (crtc(0x12) | bit(overflow, 1, 8) | bit(overflow, 6, 9)),
        start: crtc(0x0c) << 8 | crtc(0x0d),
        pitch: crtc(0x13) * 2,
        row_lines: (crtc(9) & 0x1f) + 1,
        first_line: crtc(8) & 0x1f,
        doubled: crtc(9) & 0x80 != 0,
        split: crtc(0x18) | bit(overflow, 4, 8) | bit(crtc(9), 6, 9),
        panning: u32::from(registers.attribute[0x13]) & 7,
        odd_rows: match (cga, byte_mode) {
            (false, _) => 0,
            (true, true) => 0x2000,
            (true, false) => 0x1000,
        },
    }
}
