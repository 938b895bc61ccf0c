//! A VGA's graphics: planes of bits, pairs of bits, bytes.

use display::Picture;

use super::{Line, Source, lines, stretched};
use crate::vga::mode::{Linear, Raster};

/// Addresses of a plane.
const ADDRESSES: u32 = 0x1_0000;

/// Units of eight dots in a row, and one more where the row is moved.
fn units(raster: &Raster) -> usize {
    raster.columns as usize + 1
}

/// Draws line by line what `dots` makes of the four planes of its units.
fn each_line(
    source: &Source<'_>,
    raster: &Raster,
    to: &mut Picture,
    dots: impl Fn(&[u8], &mut Vec<u32>),
) {
    let mut row = vec![0; units(raster) * 4];
    let mut pixels = Vec::new();
    let mut last: Option<Line> = None;
    for (y, line) in (0u32..).zip(lines(raster)) {
        if last != Some(line) {
            last = Some(line);
            let odd = if line.scan & 1 == 0 {
                0
            } else {
                raster.odd_rows
            };
            let address = (line.address + odd) % ADDRESSES;
            source.vram.read(u64::from(address) * 4, &mut row);
            pixels.clear();
            dots(&row, &mut pixels);
            let moved = if line.fixed {
                0
            } else {
                raster.panning as usize
            };
            pixels.drain(..moved.min(pixels.len()));
            pixels.truncate((raster.columns * raster.dots) as usize);
            stretched(&mut pixels, raster.stretch);
        }
        to.draw(0, y, &pixels);
    }
}

/// Eight pixels of four planes' bytes.
fn eight(planes: &[u8], mask: u8, colours: &[u32; 16], to: &mut Vec<u32>) {
    for bit in (0..8).rev() {
        let colour = planes
            .iter()
            .enumerate()
            .fold(0u8, |colour, (plane, byte)| {
                colour | (byte >> bit & 1) << plane
            });
        to.push(colours[usize::from(colour & mask & 15)]);
    }
}

pub(super) fn planar(source: &Source<'_>, raster: &Raster, to: &mut Picture) {
    let colours = source.registers.sixteen();
    let mask = source.registers.attribute[0x12];
    each_line(source, raster, to, |row, pixels| {
        row.chunks_exact(4)
            .for_each(|planes| eight(planes, mask, &colours, pixels));
    });
}

/// Two bits of a pixel are in one plane, two more in the plane two further on.
pub(super) fn pairs(source: &Source<'_>, raster: &Raster, to: &mut Picture) {
    let colours = source.registers.sixteen();
    let mask = source.registers.attribute[0x12];
    each_line(source, raster, to, |row, pixels| {
        for planes in row.chunks_exact(4) {
            for (low, high) in [(planes[0], planes[2]), (planes[1], planes[3])] {
                for shift in [6, 4, 2, 0] {
                    let colour = low >> shift & 3 | (high >> shift & 3) << 2;
                    pixels.push(colours[usize::from(colour & mask & 15)]);
                }
            }
        }
    });
}

/// Four bytes in eight dots: each is two dots wide.
pub(super) fn bytes(source: &Source<'_>, raster: &Raster, to: &mut Picture) {
    let colours = source.registers.all_colours();
    each_line(source, raster, to, |row, pixels| {
        for byte in row {
            let colour = colours[usize::from(*byte)];
            pixels.extend([colour, colour]);
        }
    });
}

/// Planes of a linear mode's size.
pub(super) fn linear(source: &Source<'_>, linear: &Linear, to: &mut Picture) {
    let colours = source.registers.sixteen();
    let mask = source.registers.attribute[0x12];
    let mut row = vec![0; linear.width.div_ceil(8) as usize * 4];
    let mut pixels = Vec::new();
    for y in 0..to.height() {
        source
            .vram
            .read(linear.start + u64::from(y) * linear.pitch, &mut row);
        pixels.clear();
        row.chunks_exact(4)
            .for_each(|planes| eight(planes, mask, &colours, &mut pixels));
        to.draw(0, y, &pixels);
    }
}
