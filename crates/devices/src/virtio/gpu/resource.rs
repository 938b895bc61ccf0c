//! Pictures that a guest has at the device: pixels here, and the guest's memory that they are copied
//! from. Spec: VIRTIO 1.2, "GPU Device", "VIRTIO_GPU_CMD_RESOURCE_CREATE_2D", "TRANSFER_TO_HOST_2D".

use display::Rect;
use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::command::Refusal;

/// Bytes of a pixel.
pub(super) const PIXEL: usize = 4;
/// The largest edge, in pixels.
pub(super) const MAX_EDGE: u32 = 8192;
/// Buffers of one picture.
pub(super) const MOST_ENTRIES: usize = 16_384;

/// In which order the bytes of a pixel are: which of them are blue, green, red, and alpha, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) number: u32,
}

impl Format {
    pub(super) fn of(number: u32) -> Option<Format> {
        matches!(number, 1..=4 | 67 | 68 | 121 | 134).then_some(Format { number })
    }

    /// A pixel as AARRGGBB. What is in the place of alpha counts in pointers alone, and there also in
    /// formats that say it is nothing: Linux has all its pictures in one of those.
    pub(super) fn pixel(self, bytes: [u8; PIXEL]) -> u32 {
        let [a, b, c, d] = bytes;
        let (alpha, red, green, blue) = match self.number {
            1 | 2 => (d, c, b, a),
            3 | 4 => (a, b, c, d),
            67 | 134 => (d, a, b, c),
            _ => (a, d, c, b),
        };
        u32::from_be_bytes([alpha, red, green, blue])
    }

    /// Is it that of pictures, but for what is in the place of alpha?
    fn is_native(self) -> bool {
        matches!(self.number, 1 | 2)
    }
}

/// Where the guest has its pixels: address and length of each buffer.
#[derive(Debug, Default)]
pub(super) struct Backing {
    /// Also how many bytes come before.
    spans: Vec<(u64, u64, u32)>,
}

impl Backing {
    pub(super) fn new(spans: impl IntoIterator<Item = (u64, u32)>) -> Backing {
        let mut before = 0;
        let spans = spans.into_iter().map(|(address, len)| {
            let span = (before, address, len);
            before += u64::from(len);
            span
        });
        Backing {
            spans: spans.collect(),
        }
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = (u64, u32)> {
        self.spans.iter().map(|(_, address, len)| (*address, *len))
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Copies from `offset` on; `None` where there is no such memory.
    fn read(&self, memory: &GuestMemory, mut offset: u64, mut to: &mut [u8]) -> Option<()> {
        let mut at = self.spans.partition_point(|span| span.0 <= offset);
        at = at.checked_sub(1)?;
        while !to.is_empty() {
            let (before, address, len) = *self.spans.get(at)?;
            let inside = offset - before;
            let left = u64::from(len).saturating_sub(inside);
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
            let (piece, rest) = to.split_at_mut(count);
            let from = GuestAddress(address.checked_add(inside)?);
            memory.ram().read_slice(piece, from).ok()?;
            (to, offset, at) = (rest, offset + count as u64, at + 1);
        }
        Some(())
    }
}

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: Format,
    /// As the guest has them, row by row.
    pub(super) pixels: Vec<u8>,
    pub(super) backing: Option<Backing>,
}

impl Resource {
    /// Bytes of such a picture, where there can be one.
    pub(super) fn bytes(width: u32, height: u32) -> Option<usize> {
        let fits = (1..=MAX_EDGE).contains(&width) && (1..=MAX_EDGE).contains(&height);
        fits.then_some(width as usize * height as usize * PIXEL)
    }

    /// Black, of a size that [`Resource::bytes`] knows.
    pub(super) fn new(width: u32, height: u32, format: Format) -> Resource {
        Resource {
            width,
            height,
            format,
            pixels: vec![0; Resource::bytes(width, height).unwrap_or(0)],
            backing: None,
        }
    }

    pub(super) fn has(&self, part: Rect) -> bool {
        let end = |from: u32, len: u32| u64::from(from) + u64::from(len);
        end(part.x, part.width) <= self.width.into()
            && end(part.y, part.height) <= self.height.into()
    }

    fn pitch(&self) -> usize {
        self.width as usize * PIXEL
    }

    /// Copies a part from the guest's memory, where it begins at `offset` and has rows as far apart as
    /// here.
    pub(super) fn transfer(
        &mut self,
        memory: &GuestMemory,
        part: Rect,
        offset: u64,
    ) -> Result<(), Refusal> {
        if !self.has(part) {
            return Err(Refusal::Parameter);
        }
        let backing = self.backing.as_ref().ok_or(Refusal::Unspecified)?;
        let pitch = self.pitch();
        let (start, len) = (part.x as usize * PIXEL, part.width as usize * PIXEL);
        let rows = &mut self.pixels[part.y as usize * pitch..][..part.height as usize * pitch];
        if len == pitch {
            return backing
                .read(memory, offset, rows)
                .ok_or(Refusal::Unspecified);
        }
        for (row, pixels) in (0u64..).zip(rows.chunks_mut(pitch)) {
            let from = offset.saturating_add(row * pitch as u64);
            let row = &mut pixels[start..start + len];
            backing
                .read(memory, from, row)
                .ok_or(Refusal::Unspecified)?;
        }
        Ok(())
    }

    /// Part of a row, as pixels; empty where there is none.
    pub(super) fn row(&self, x: u32, y: u32, width: u32, to: &mut Vec<u32>) {
        to.clear();
        let part = Rect {
            x,
            y,
            width,
            height: 1,
        };
        if !self.has(part) {
            return;
        }
        let start = y as usize * self.pitch() + x as usize * PIXEL;
        let bytes = self.pixels[start..start + width as usize * PIXEL]
            .as_chunks()
            .0;
        if self.format.is_native() {
            let pixels = bytes
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes) & 0x00ff_ffff);
            to.extend(pixels);
        } else {
            let pixels = bytes
                .iter()
                .map(|bytes| self.format.pixel(*bytes) & 0x00ff_ffff);
            to.extend(pixels);
        }
    }
}
