//! Pixels out of video memory, row by row.

mod graphics;
mod linear;
mod text;

use display::Picture;
use memory::DeviceMemory;

use super::mode::{Raster, Shown};
use super::state::Registers;
use super::vbe;

/// Frames of 70 a second in which a cursor is on, and then off; characters blink half as fast.
const CURSOR_HALF: u64 = 228_000_000;

/// What a picture is drawn from.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) registers: &'a Registers,
    pub(super) vram: &'a DeviceMemory,
    /// Which half of a blink it is, counted from when the guest was made.
    pub(super) blink: u64,
}

/// Which half of a blink of the cursor it is at `now`, in nanoseconds.
pub(super) fn blink(now: u64) -> u64 {
    now / CURSOR_HALF
}

/// Draws what is shown. `written` are pages of video memory written since the picture was as it is, or
/// nothing where all may be different.
pub(super) fn draw(
    source: &Source<'_>,
    shown: &Shown,
    written: Option<&[usize]>,
    to: &mut Picture,
) {
    let (width, height) = shown.size();
    to.resize(width, height);
    match shown {
        Shown::Dark => dark(to),
        Shown::Text(raster) => text::draw(source, raster, to),
        Shown::Planar(raster) => graphics::planar(source, raster, to),
        Shown::Pairs(raster) => graphics::pairs(source, raster, to),
        Shown::Bytes(raster) => graphics::bytes(source, raster, to),
        Shown::Linear(linear) => linear::draw(source, linear, written, to),
        Shown::LinearPlanar(linear) => graphics::linear(source, linear, to),
    }
}

fn dark(to: &mut Picture) {
    let row = vec![0; to.width() as usize];
    (0..to.height()).for_each(|y| to.draw(0, y, &row));
}

/// A line of the screen: the address of its first unit, and which line of its row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    address: u32,
    scan: u32,
    /// Of the part below a split, which stands still.
    fixed: bool,
}

/// The way of the beam.
fn lines(raster: &Raster) -> impl Iterator<Item = Line> {
    let raster = *raster;
    let mut line = Line {
        address: raster.start,
        scan: raster.first_line.min(raster.row_lines - 1),
        fixed: false,
    };
    let mut again = raster.doubled;
    (0..raster.lines).map(move |y| {
        let this = line;
        if y == raster.split {
            line = Line {
                address: 0,
                scan: 0,
                fixed: true,
            };
            again = raster.doubled;
        } else if again {
            again = false;
        } else {
            again = raster.doubled;
            line.scan += 1;
            if line.scan >= raster.row_lines {
                line.scan = 0;
                line.address += raster.pitch;
            }
        }
        this
    })
}

impl Registers {
    fn is_wide(&self) -> bool {
        self.vbe[vbe::ENABLE] & vbe::WIDE_DAC != 0
    }

    /// The sixteen colours of the attribute controller, as pixels.
    fn sixteen(&self) -> [u32; 16] {
        let select = self.attribute[0x14];
        let own = self.attribute[0x10] & 0x80 == 0;
        std::array::from_fn(|index| {
            let colour = self.attribute[index];
            let low = if own {
                colour & 0x3f
            } else {
                colour & 0x0f | (select & 3) << 4
            };
            self.dac.colour(low | (select & 0x0c) << 4, self.is_wide())
        })
    }

    /// The DAC's colours, as pixels.
    fn all_colours(&self) -> [u32; 256] {
        let mut next = 0u8;
        std::array::from_fn(|_| {
            let colour = self.dac.colour(next, self.is_wide());
            next = next.wrapping_add(1);
            colour
        })
    }
}

/// Each pixel so many times.
fn stretched(pixels: &mut Vec<u32>, times: u32) {
    if times > 1 {
        let each = |pixel: &u32| std::iter::repeat_n(*pixel, times as usize);
        *pixels = pixels.iter().flat_map(each).collect();
    }
}
