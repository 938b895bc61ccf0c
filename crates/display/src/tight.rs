//! Rectangles of Tight, before they are compressed: one colour, two, few, or all.
//! Spec: The RFB Protocol (rfbproto), "Tight Encoding".

use std::collections::HashMap;

use crate::{Picture, PixelFormat, Rect};

/// Clients expect no wider ones.
pub const MAX_WIDTH: u32 = 2048;

/// What is sent of a rectangle.
#[derive(Debug, PartialEq, Eq)]
pub enum Tight {
    /// One colour: its TPIXEL.
    Fill(Vec<u8>),
    /// A palette, as TPIXELs, and the indices for the zlib stream.
    Palette {
        colours: u8,
        palette: Vec<u8>,
        indices: Vec<u8>,
    },
    /// TPIXELs for the zlib stream.
    Full(Vec<u8>),
}

/// A part of a picture, no wider than [`MAX_WIDTH`].
#[must_use]
pub fn tight(picture: &Picture, rect: Rect, format: PixelFormat) -> Tight {
    let rect = picture.clip(rect);
    let mut palette: Vec<u32> = Vec::new();
    let mut places: HashMap<u32, u8> = HashMap::new();
    let mut few = true;
    let mut last = None;
    'all: for row in picture.rows(rect) {
        for &pixel in row {
            if last == Some(pixel) {
                continue;
            }
            last = Some(pixel);
            if places.contains_key(&pixel) {
                continue;
            }
            let Ok(place) = u8::try_from(palette.len()) else {
                few = false;
                break 'all;
            };
            places.insert(pixel, place);
            palette.push(pixel);
        }
    }
    let whole = |pixels: &mut dyn Iterator<Item = u32>| {
        let mut bytes = Vec::new();
        pixels.for_each(|pixel| put(pixel, format, &mut bytes));
        bytes
    };
    if few && palette.len() <= 1 {
        return Tight::Fill(whole(&mut palette.into_iter().chain([0]).take(1)));
    }
    // An index is as long as a pixel of one byte.
    if !few || (format.bytes() == 1 && palette.len() > 2) {
        return Tight::Full(whole(&mut picture.rows(rect).flatten().copied()));
    }
    let index = |pixel: &u32| places.get(pixel).copied().unwrap_or(0);
    let indices = if palette.len() == 2 {
        let rows = picture.rows(rect);
        let bytes = rows.flat_map(|row| {
            row.chunks(8).map(|group| {
                let bits = group.iter().enumerate();
                bits.fold(0, |byte, (place, pixel)| byte | index(pixel) << (7 - place))
            })
        });
        bytes.collect()
    } else {
        picture.rows(rect).flatten().map(index).collect()
    };
    Tight::Palette {
        colours: u8::try_from(palette.len() - 1).unwrap_or(u8::MAX),
        palette: whole(&mut palette.into_iter()),
        indices,
    }
}

/// A TPIXEL: red, green and blue where that is what a pixel of 32 bits consists of.
fn put(pixel: u32, format: PixelFormat, to: &mut Vec<u8>) {
    if format.bits == 32 && format.depth == 24 && format.max == [255; 3] {
        let [blue, green, red, _] = pixel.to_le_bytes();
        to.extend([red, green, blue]);
    } else {
        format.put(pixel, to);
    }
}

#[cfg(test)]
mod tests;
