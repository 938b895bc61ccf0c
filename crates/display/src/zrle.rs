//! Tiles of ZRLE, before they are compressed: a palette and runs. Spec: RFC 6143, "ZRLE Encoding",
//! "TRLE".

use crate::{Picture, PixelFormat, Rect};

/// Edge of a tile.
const EDGE: u32 = 64;
const MAX_PALETTE: usize = 127;
const MAX_PACKED: usize = 16;

/// A part of a picture as the bytes that the client's zlib stream is to carry.
#[must_use]
pub fn zrle(picture: &Picture, rect: Rect, format: PixelFormat) -> Vec<u8> {
    let rect = picture.clip(rect);
    let mut bytes = Vec::new();
    let mut pixels = Vec::new();
    for y in (rect.y..rect.y + rect.height).step_by(EDGE as usize) {
        for x in (rect.x..rect.x + rect.width).step_by(EDGE as usize) {
            let tile = Rect {
                x,
                y,
                width: EDGE.min(rect.x + rect.width - x),
                height: EDGE.min(rect.y + rect.height - y),
            };
            pixels.clear();
            picture.rows(tile).for_each(|row| pixels.extend(row));
            encode(&pixels, tile.width as usize, format, &mut bytes);
        }
    }
    bytes
}

/// The different colours, by first appearance; `None` where there are too many. And how many runs.
fn survey(pixels: &[u32]) -> (Option<Vec<u32>>, usize) {
    let mut palette: Option<Vec<u32>> = Some(Vec::new());
    let mut runs = 0;
    let mut last = None;
    for &pixel in pixels {
        if last == Some(pixel) {
            continue;
        }
        last = Some(pixel);
        runs += 1;
        if let Some(known) = &mut palette
            && !known.contains(&pixel)
        {
            if known.len() == MAX_PALETTE {
                palette = None;
            } else {
                known.push(pixel);
            }
        }
    }
    (palette, runs)
}

fn encode(pixels: &[u32], width: usize, format: PixelFormat, to: &mut Vec<u8>) {
    let size = compact_size(format);
    let (palette, runs) = survey(pixels);
    let plain = pixels.len() * size;
    let run_length = runs * (size + 1);
    let Some(palette) = palette else {
        if run_length < plain {
            to.push(128);
            put_runs(pixels, to, |pixel, to| put(pixel, format, to));
        } else {
            to.push(0);
            pixels.iter().for_each(|pixel| put(*pixel, format, to));
        }
        return;
    };
    let index = |pixel: u32| {
        let place = palette.iter().position(|known| *known == pixel);
        u8::try_from(place.unwrap_or(0)).unwrap_or(0)
    };
    // At most 127.
    let count = u8::try_from(palette.len()).unwrap_or(0);
    if count == 1 {
        to.push(1);
        put(palette[0], format, to);
        return;
    }
    let packed = pixels.len() * packed_bits(palette.len()) / 8;
    let indexed_runs = 2 * runs;
    if palette.len() <= MAX_PACKED && packed <= indexed_runs {
        to.push(count);
        palette.iter().for_each(|pixel| put(*pixel, format, to));
        pack(pixels, width, packed_bits(palette.len()), to, index);
    } else if indexed_runs < plain {
        to.push(128 + count);
        palette.iter().for_each(|pixel| put(*pixel, format, to));
        put_indexed_runs(pixels, to, index);
    } else {
        to.push(0);
        pixels.iter().for_each(|pixel| put(*pixel, format, to));
    }
}

fn packed_bits(colours: usize) -> usize {
    match colours {
        0..=2 => 1,
        3..=4 => 2,
        _ => 4,
    }
}

/// Rows of indices, each padded to a byte.
fn pack(pixels: &[u32], width: usize, bits: usize, to: &mut Vec<u8>, index: impl Fn(u32) -> u8) {
    for row in pixels.chunks(width.max(1)) {
        for group in row.chunks(8 / bits) {
            let byte = group.iter().enumerate().fold(0, |byte, (place, pixel)| {
                byte | index(*pixel) << (8 - bits * (place + 1))
            });
            to.push(byte);
        }
    }
}

fn runs(pixels: &[u32]) -> impl Iterator<Item = (u32, usize)> {
    pixels
        .chunk_by(|one, other| one == other)
        .map(|run| (run[0], run.len()))
}

fn put_length(len: usize, to: &mut Vec<u8>) {
    let mut rest = len - 1;
    while rest >= 255 {
        to.push(255);
        rest -= 255;
    }
    to.push(rest.to_le_bytes()[0]);
}

fn put_runs(pixels: &[u32], to: &mut Vec<u8>, put: impl Fn(u32, &mut Vec<u8>)) {
    for (pixel, len) in runs(pixels) {
        put(pixel, to);
        put_length(len, to);
    }
}

fn put_indexed_runs(pixels: &[u32], to: &mut Vec<u8>, index: impl Fn(u32) -> u8) {
    for (pixel, len) in runs(pixels) {
        if len == 1 {
            to.push(index(pixel));
        } else {
            to.push(index(pixel) | 128);
            put_length(len, to);
        }
    }
}

fn compact_size(format: PixelFormat) -> usize {
    format.compact().map_or(format.bytes(), |_| 3)
}

/// A CPIXEL.
fn put(pixel: u32, format: PixelFormat, to: &mut Vec<u8>) {
    let Some(high) = format.compact() else {
        format.put(pixel, to);
        return;
    };
    let value = format.value(pixel) >> if high { 8 } else { 0 };
    if format.big_endian {
        to.extend(&value.to_be_bytes()[1..]);
    } else {
        to.extend(&value.to_le_bytes()[..3]);
    }
}

#[cfg(test)]
mod tests;
