//! The pointer's picture, which viewers draw where their own pointer is.
//! Spec: VIRTIO 1.2, "GPU Device", "Device Operation: cursorq".

use super::command::Refusal;
use super::resource::{PIXEL, Resource};

/// Its edge, in pixels.
const EDGE: u32 = 64;

/// How a pointer looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Another one for each look that it has had.
    pub number: u64,
    /// The corner from which it points, in the screen's pixels, where the guest put it.
    pub x: i32,
    pub y: i32,
    /// The pixel that points.
    pub hot: (u32, u32),
    pub width: u32,
    pub height: u32,
    /// AARRGGBB, row by row, with colours that alpha is multiplied into already; none where the guest shows no pointer.
    pub pixels: Vec<u32>,
}

impl Cursor {
    pub(super) fn go(&mut self, (x, y): (i32, i32)) {
        (self.x, self.y) = (x, y);
    }

    pub(super) fn hide(&mut self) {
        *self = Cursor {
            number: self.number + 1,
            ..Cursor::default()
        };
    }

    /// Looks as this picture from here on.
    pub(super) fn look(&mut self, like: &Resource, hot: (u32, u32)) -> Result<(), Refusal> {
        if like.width > EDGE || like.height > EDGE {
            return Err(Refusal::Parameter);
        }
        self.number += 1;
        (self.width, self.height) = (like.width, like.height);
        self.hot = (hot.0.min(like.width - 1), hot.1.min(like.height - 1));
        let bytes: &[[u8; PIXEL]] = like.pixels.as_chunks().0;
        self.pixels = bytes
            .iter()
            .map(|bytes| like.format.pixel(*bytes))
            .collect();
        Ok(())
    }

    /// Of a saved state, which may hold anything.
    pub(super) fn is_possible(&self) -> bool {
        let (width, height) = (self.width, self.height);
        let inside = self.pixels.is_empty() || self.hot.0 < width && self.hot.1 < height;
        let whole = width as usize * height.min(EDGE) as usize;
        width <= EDGE
            && height <= EDGE
            && inside
            && (self.pixels.is_empty() || self.pixels.len() == whole)
    }

    /// Puts it over a picture of `width` pixels a row, three bytes each: red, green, blue.
    pub fn put_over(&self, rgb: &mut [u8], width: u32) {
        if self.pixels.is_empty() || width == 0 {
            return;
        }
        let rows = self.pixels.chunks(self.width as usize);
        for (y, row) in (i64::from(self.y)..).zip(rows) {
            for (x, pixel) in (i64::from(self.x)..).zip(row) {
                let inside = (0..i64::from(width)).contains(&x) && y >= 0;
                let at = usize::try_from(3 * (y * i64::from(width) + x)).unwrap_or(usize::MAX);
                let under = rgb.get_mut(at..at.saturating_add(3)).filter(|_| inside);
                let [blue, green, red, alpha] = pixel.to_le_bytes();
                for (under, over) in under.into_iter().flatten().zip([red, green, blue]) {
                    let shade = (u16::from(*under) * u16::from(255 - alpha) + 127) / 255;
                    *under = over.saturating_add(shade.to_le_bytes()[0]);
                }
            }
        }
    }
}
