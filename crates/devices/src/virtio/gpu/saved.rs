//! The saved form of all that a guest has at the device.

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::desk::Desk;
use super::resource::{Backing, Format, MOST_ENTRIES, Resource};
use super::scanout::Scanout;
use crate::vga::SavedFace;

/// Pixels are saved in pieces of so many bytes; what is zero in whole is not.
const PIECE: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GpuStateV1 {
    pub(super) events: u32,
    desk: DeskStateV1,
    pub(super) face: Option<SavedFace>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DeskStateV1 {
    preferred: (u16, u16),
    resources: Vec<ResourceStateV1>,
    scanout: Option<Scanout>,
    shows: bool,
    cursor: CursorStateV1,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResourceStateV1 {
    id: u32,
    format: u32,
    width: u32,
    height: u32,
    backing: Option<Vec<(u64, u32)>>,
    pieces: Vec<(u32, Vec<u8>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CursorStateV1 {
    place: (i32, i32),
    hot: (u32, u32),
    size: (u32, u32),
    pixels: Vec<u32>,
}

impl GpuStateV1 {
    pub(super) fn of(desk: &Desk, events: u32, face: Option<SavedFace>) -> GpuStateV1 {
        let cursor = &desk.cursor;
        GpuStateV1 {
            events,
            face,
            desk: DeskStateV1 {
                preferred: desk.preferred,
                resources: desk.resources.iter().map(ResourceStateV1::of).collect(),
                scanout: desk.scanout,
                shows: desk.shows,
                cursor: CursorStateV1 {
                    place: (cursor.x, cursor.y),
                    hot: cursor.hot,
                    size: (cursor.width, cursor.height),
                    pixels: cursor.pixels.clone(),
                },
            },
        }
    }

    /// What it was saved from; the pointer counts on from `looks`.
    ///
    /// # Errors
    /// With a reason, when there is no such device.
    pub(super) fn desk(&self, looks: u64) -> Result<Desk, String> {
        let mut desk = Desk::new(self.desk.preferred);
        desk.wish(self.desk.preferred.0, self.desk.preferred.1);
        if desk.preferred != self.desk.preferred {
            return Err("a monitor of a size that there is none of".into());
        }
        for saved in &self.desk.resources {
            saved.restore(&mut desk)?;
        }
        if let Some(scanout) = &self.desk.scanout {
            let part = display::Rect {
                x: scanout.x,
                y: scanout.y,
                width: scanout.width,
                height: scanout.height,
            };
            let shown = desk.resources.get(&scanout.resource);
            let inside = shown.is_some_and(|resource| resource.has(part));
            if !inside || part.width == 0 || part.height == 0 || !self.desk.shows {
                return Err("a part is shown of no picture".into());
            }
        }
        desk.scanout = self.desk.scanout;
        desk.shows = self.desk.shows;
        let CursorStateV1 {
            place,
            hot,
            size,
            pixels,
        } = &self.desk.cursor;
        desk.cursor = Cursor {
            number: looks + 1,
            x: place.0,
            y: place.1,
            hot: *hot,
            width: size.0,
            height: size.1,
            pixels: pixels.clone(),
        };
        if !desk.cursor.is_possible() {
            return Err("a pointer of an impossible size".into());
        }
        desk.damage.everything();
        Ok(desk)
    }
}

impl ResourceStateV1 {
    fn of((id, resource): (&u32, &Resource)) -> ResourceStateV1 {
        let pieces = (0u32..).zip(resource.pixels.chunks(PIECE));
        let pieces = pieces.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        ResourceStateV1 {
            id: *id,
            format: resource.format.number,
            width: resource.width,
            height: resource.height,
            backing: resource.backing.as_ref().map(|it| it.spans().collect()),
            pieces: pieces.map(|(at, bytes)| (at, bytes.to_vec())).collect(),
        }
    }

    fn restore(&self, desk: &mut Desk) -> Result<(), String> {
        let wrong = || format!("picture {} is none", self.id);
        let format = Format::of(self.format).ok_or_else(wrong)?;
        let created = desk.create(self.id, format, (self.width, self.height));
        created.map_err(|_| wrong())?;
        let resource = desk.resources.get_mut(&self.id).ok_or_else(wrong)?;
        for (at, bytes) in &self.pieces {
            let start = (*at as usize).saturating_mul(PIECE);
            let place = resource.pixels.get_mut(start..).ok_or_else(wrong)?;
            if bytes.len() != place.len().min(PIECE) {
                return Err(wrong());
            }
            place[..bytes.len()].copy_from_slice(bytes);
        }
        if let Some(backing) = &self.backing {
            if backing.len() > MOST_ENTRIES {
                return Err(wrong());
            }
            resource.backing = Some(Backing::new(backing.iter().copied()));
        }
        Ok(())
    }
}
