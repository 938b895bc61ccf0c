//! How a client wants its pixels. Spec: RFC 6143, "Pixel Format Data Structure", "Raw Encoding".

use crate::{Picture, Rect};

/// Spec's PIXEL_FORMAT, of true colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    /// 8, 16 or 32.
    pub bits: u8,
    pub depth: u8,
    pub big_endian: bool,
    /// The largest value of red, green and blue.
    pub max: [u16; 3],
    /// How far left they are.
    pub shift: [u8; 3],
}

impl PixelFormat {
    /// That of pictures.
    pub const NATIVE: PixelFormat = PixelFormat {
        bits: 32,
        depth: 24,
        big_endian: false,
        max: [255; 3],
        shift: [16, 8, 0],
    };

    /// A format that makes sense: of 8, 16 or 32 bits, in which the colours have room.
    #[must_use]
    pub fn checked(self) -> Option<PixelFormat> {
        let fits = self.max.iter().zip(self.shift).all(|(max, shift)| {
            let width = u16::BITS - max.leading_zeros();
            // A maximum is one less than a power of two.
            max & max.wrapping_add(1) == 0 && u32::from(shift) + width <= u32::from(self.bits)
        });
        (matches!(self.bits, 8 | 16 | 32) && fits).then_some(self)
    }

    /// Bytes of a pixel.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::from(self.bits / 8)
    }

    /// The value that a client has for a pixel of ours.
    #[must_use]
    pub(crate) fn value(self, pixel: u32) -> u32 {
        if self.max == PixelFormat::NATIVE.max && self.shift == PixelFormat::NATIVE.shift {
            return pixel & 0x00ff_ffff;
        }
        let [blue, green, red, _] = pixel.to_le_bytes();
        let colours = [red, green, blue].into_iter();
        colours.zip(self.max.into_iter().zip(self.shift)).fold(
            0,
            |value, (colour, (max, shift))| {
                let scaled = (u32::from(colour) * u32::from(max) + 127) / 255;
                value | scaled << (shift & 31)
            },
        )
    }

    /// Appends a pixel as Raw has it.
    pub(crate) fn put(self, pixel: u32, to: &mut Vec<u8>) {
        let value = self.value(pixel);
        match (self.bits, self.big_endian) {
            (8, _) => to.extend(&value.to_le_bytes()[..1]),
            (16, false) => to.extend(&value.to_le_bytes()[..2]),
            (16, true) => to.extend(&value.to_be_bytes()[2..]),
            (_, false) => to.extend(value.to_le_bytes()),
            (_, true) => to.extend(value.to_be_bytes()),
        }
    }

    /// Which three bytes of a pixel matter, where those are enough (CPIXEL of ZRLE).
    pub(crate) fn compact(self) -> Option<bool> {
        if self.bits != 32 || self.depth > 24 {
            return None;
        }
        let reach = |max: u16, shift: u8| u32::from(max) << (shift & 31);
        let used = self.max.into_iter().zip(self.shift);
        let used = used.fold(0, |mask, (max, shift)| mask | reach(max, shift));
        match used {
            used if used & 0xff00_0000 == 0 => Some(false),
            used if used & 0x0000_00ff == 0 => Some(true),
            _ => None,
        }
    }
}

/// A part of a picture, pixel by pixel.
#[must_use]
pub fn raw(picture: &Picture, rect: Rect, format: PixelFormat) -> Vec<u8> {
    let rect = picture.clip(rect);
    let pixels = rect.width as usize * rect.height as usize;
    let mut bytes = Vec::with_capacity(pixels * format.bytes());
    let native =
        format.bits == 32 && !format.big_endian && format.value(0x0001_0203) == 0x0001_0203;
    for row in picture.rows(rect) {
        if native {
            row.iter()
                .for_each(|pixel| bytes.extend(pixel.to_le_bytes()));
        } else {
            row.iter().for_each(|pixel| format.put(*pixel, &mut bytes));
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
