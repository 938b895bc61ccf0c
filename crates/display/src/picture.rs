//! A picture that is drawn by rows and remembers which of its tiles changed when.

use crate::{MAX_HEIGHT, MAX_WIDTH};

/// Edge of a tile, in pixels.
pub const TILE: u32 = 32;

/// Part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Picture {
    width: u32,
    height: u32,
    /// 00RRGGBB, row by row.
    pixels: Vec<u32>,
    /// When each tile changed last, row by row.
    tiles: Vec<u64>,
    /// When anything did.
    now: u64,
    /// When the size did.
    resized: u64,
}

impl Picture {
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// When it changed last. What comes later has a larger number.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// When its size changed last.
    #[must_use]
    pub fn resized(&self) -> u64 {
        self.resized
    }

    /// A black picture of this size, no larger than the largest, unless it has that size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let (width, height) = (width.clamp(1, MAX_WIDTH), height.clamp(1, MAX_HEIGHT));
        if (width, height) == (self.width, self.height) {
            return;
        }
        self.now += 1;
        (self.width, self.height) = (width, height);
        self.resized = self.now;
        self.pixels = vec![0; width as usize * height as usize];
        let tiles = width.div_ceil(TILE) as usize * height.div_ceil(TILE) as usize;
        self.tiles = vec![self.now; tiles];
    }

    /// Later changes have a larger number than earlier ones from here on.
    pub fn tick(&mut self) {
        self.now += 1;
    }

    /// A row of pixels, empty where the picture has none.
    #[must_use]
    pub fn row(&self, y: u32) -> &[u32] {
        let start = y as usize * self.width as usize;
        let end = start + self.width as usize;
        self.pixels.get(start..end).unwrap_or_default()
    }

    /// Draws a row from `x` on, as far as there is a picture.
    pub fn draw(&mut self, x: u32, y: u32, pixels: &[u32]) {
        if y >= self.height || x >= self.width {
            return;
        }
        let count = pixels.len().min((self.width - x) as usize);
        let start = y as usize * self.width as usize + x as usize;
        let row = &mut self.pixels[start..start + count];
        if row == &pixels[..count] {
            return;
        }
        let columns = self.width.div_ceil(TILE) as usize;
        let tiles = y as usize / TILE as usize * columns;
        let mut at = 0;
        while at < count {
            let column = (x as usize + at) / TILE as usize;
            let next = ((column + 1) * TILE as usize - x as usize).min(count);
            if row[at..next] != pixels[at..next] {
                row[at..next].copy_from_slice(&pixels[at..next]);
                self.tiles[tiles + column] = self.now;
            }
            at = next;
        }
    }

    /// What changed after `seen`, as rectangles without overlap.
    #[must_use]
    pub fn changed_since(&self, seen: u64) -> Vec<Rect> {
        let columns = self.width.div_ceil(TILE) as usize;
        let mut found: Vec<Rect> = Vec::new();
        for (row, tiles) in (0u32..).zip(self.tiles.chunks(columns.max(1))) {
            let y = row * TILE;
            let height = TILE.min(self.height - y);
            let mut column = 0;
            while column < tiles.len() {
                let run = tiles[column..].iter().take_while(|tile| **tile > seen);
                let run = run.count();
                if run == 0 {
                    column += 1;
                    continue;
                }
                let x = tile_start(column);
                let width = tile_start(column + run).min(self.width) - x;
                column += run;
                // A run below one of the same columns makes it higher.
                let above = found.iter_mut().rev();
                let mut above = above.take_while(|it| it.y + it.height + 2 * TILE > y);
                let same = |it: &&mut Rect| it.x == x && it.width == width && it.y + it.height == y;
                match above.find(same) {
                    Some(rect) => rect.height += height,
                    None => found.push(Rect {
                        x,
                        y,
                        width,
                        height,
                    }),
                }
            }
        }
        found
    }

    /// `rect` as far as it lies in the picture.
    #[must_use]
    pub fn clip(&self, rect: Rect) -> Rect {
        let (x, y) = (rect.x.min(self.width), rect.y.min(self.height));
        Rect {
            x,
            y,
            width: rect.width.min(self.width - x),
            height: rect.height.min(self.height - y),
        }
    }

    /// The rows of a part that lies in the picture.
    pub(crate) fn rows(&self, rect: Rect) -> impl Iterator<Item = &[u32]> {
        let Rect { x, width, .. } = rect;
        (rect.y..rect.y + rect.height).map(move |y| &self.row(y)[x as usize..(x + width) as usize])
    }

    /// All pixels as bytes: red, green, blue.
    #[must_use]
    pub fn rgb(&self) -> Vec<u8> {
        let bytes = self.pixels.iter().flat_map(|pixel| {
            let [blue, green, red, _] = pixel.to_le_bytes();
            [red, green, blue]
        });
        bytes.collect()
    }
}

fn tile_start(column: usize) -> u32 {
    u32::try_from(column)
        .unwrap_or(u32::MAX)
        .saturating_mul(TILE)
}

#[cfg(test)]
mod tests;
