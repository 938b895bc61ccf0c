//! Linear modes of 8 to 32 bits a pixel.

use display::Picture;
use memory::PAGE_SIZE;

use super::Source;
use crate::vga::mode::Linear;

/// Draws the rows in which something was written, or all.
pub(super) fn draw(
    source: &Source<'_>,
    linear: &Linear,
    written: Option<&[usize]>,
    to: &mut Picture,
) {
    let bytes = linear.bits.div_ceil(8) as usize;
    let mut row = vec![0; linear.width as usize * bytes];
    let mut pixels = Vec::with_capacity(linear.width as usize);
    let colours = source.registers.all_colours();
    for y in 0..to.height() {
        let start = linear.start + u64::from(y) * linear.pitch;
        if written.is_some_and(|pages| !touches(pages, start, row.len() as u64)) {
            continue;
        }
        source.vram.read(start, &mut row);
        pixels.clear();
        match bytes {
            1 => pixels.extend(row.iter().map(|byte| colours[usize::from(*byte)])),
            2 => {
                let halves = row
                    .chunks_exact(2)
                    .map(|it| u16::from_le_bytes([it[0], it[1]]));
                let pixel = if linear.bits == 15 {
                    pixel_15
                } else {
                    pixel_16
                };
                pixels.extend(halves.map(pixel));
            }
            3 => pixels.extend(
                row.chunks_exact(3)
                    .map(|it| u32::from_le_bytes([it[0], it[1], it[2], 0])),
            ),
            _ => pixels.extend(
                row.chunks_exact(4)
                    .map(|it| u32::from_le_bytes([it[0], it[1], it[2], 0])),
            ),
        }
        to.draw(0, y, &pixels);
    }
}

/// Is one of these pages, ascending, part of the bytes from `start` on?
fn touches(pages: &[usize], start: u64, len: u64) -> bool {
    let first = usize::try_from(start / PAGE_SIZE).unwrap_or(usize::MAX);
    let last = usize::try_from((start + len.max(1) - 1) / PAGE_SIZE).unwrap_or(usize::MAX);
    let next = pages.partition_point(|page| *page < first);
    pages.get(next).is_some_and(|page| *page <= last)
}

/// The upper bits of a colour are its lower ones as well: white is white.
fn widened(value: u16, bits: u32) -> u32 {
    let value = u32::from(value);
    value << (8 - bits) | value >> (2 * bits - 8)
}

fn pixel_15(value: u16) -> u32 {
    let part = |shift: u32| widened(value >> shift & 31, 5);
    part(10) << 16 | part(5) << 8 | part(0)
}

fn pixel_16(value: u16) -> u32 {
    let (red, green, blue) = (value >> 11, value >> 5 & 63, value & 31);
    widened(red, 5) << 16 | widened(green, 6) << 8 | widened(blue, 5)
}
