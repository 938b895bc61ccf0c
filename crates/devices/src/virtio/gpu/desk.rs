//! What the device holds for its guest: pictures, which of them is shown, the pointer. Commands change
//! it, and whoever looks draws from it.

use std::collections::BTreeMap;

use display::{MAX_HEIGHT, MAX_WIDTH, Picture, Rect};
use memory::GuestMemory;

use super::command::{Answer, Command, Refusal};
use super::cursor::Cursor;
use super::resource::{Backing, Format, MOST_ENTRIES, Resource};
use super::scanout::{Damage, Scanout};
use crate::edid;
use crate::virtio::Chain;

/// What all pictures of a guest may hold: bytes of pixels, pictures, and buffers that they come from.
const MOST_BYTES: usize = 256 << 20;
const MOST_RESOURCES: usize = 1024;
const MOST_BUFFERS: usize = 1 << 18;

#[derive(Debug)]
pub(super) struct Desk {
    /// What the monitor likes best, in pixels.
    pub(super) preferred: (u16, u16),
    pub(super) resources: BTreeMap<u32, Resource>,
    pub(super) scanout: Option<Scanout>,
    /// The driver has shown something: the screen is its own, also when it is dark.
    pub(super) shows: bool,
    pub(super) cursor: Cursor,
    pub(super) damage: Damage,
}

impl Desk {
    pub(super) fn new(preferred: (u16, u16)) -> Desk {
        Desk {
            preferred,
            resources: BTreeMap::new(),
            scanout: None,
            shows: false,
            cursor: Cursor::default(),
            damage: Damage::default(),
        }
    }

    /// The driver has gone.
    pub(super) fn reset(&mut self) {
        let number = self.cursor.number + 1;
        *self = Desk::new(self.preferred);
        self.cursor.number = number;
    }

    pub(super) fn carry_out(
        &mut self,
        memory: &GuestMemory,
        chain: &Chain,
        command: Command,
    ) -> Result<Answer, Refusal> {
        match command {
            Command::DisplayInfo => {
                let (width, height) = self.preferred;
                return Ok(Answer::DisplayInfo(width.into(), height.into()));
            }
            Command::Edid { scanout: 0 } => {
                return Ok(Answer::Edid(edid::block(self.preferred)));
            }
            Command::Edid { .. } => return Err(Refusal::Scanout),
            Command::Create {
                id,
                format,
                width,
                height,
            } => {
                let format = Format::of(format).ok_or(Refusal::Parameter)?;
                self.create(id, format, (width, height))?;
            }
            Command::Forget { id } => self.forget(id)?,
            Command::Show { part, scanout, id } => self.show(part, scanout, id)?,
            Command::Flush { part, id } => {
                let found = self.resources.get(&id).ok_or(Refusal::Resource)?;
                if !found.has(part) {
                    return Err(Refusal::Parameter);
                }
                if let Some(scanout) = self.scanout.filter(|it| it.resource == id) {
                    scanout.flush(part, &mut self.damage);
                }
            }
            Command::Transfer { part, offset, id } => {
                self.resource(id)?.transfer(memory, part, offset)?;
            }
            Command::Attach { id, entries } => self.attach(chain, id, entries)?,
            Command::Detach { id } => {
                let detached = self.resource(id)?.backing.take();
                detached.ok_or(Refusal::Unspecified)?;
            }
            Command::Cursor { at, id: 0, .. } => {
                self.cursor.hide();
                self.cursor.go(at);
            }
            Command::Cursor { at, id, hot } => {
                let like = self.resources.get(&id).ok_or(Refusal::Resource)?;
                self.cursor.look(like, hot)?;
                self.cursor.go(at);
            }
            Command::MoveCursor { at } => self.cursor.go(at),
        }
        Ok(Answer::Done)
    }

    fn resource(&mut self, id: u32) -> Result<&mut Resource, Refusal> {
        self.resources.get_mut(&id).ok_or(Refusal::Resource)
    }

    pub(super) fn create(
        &mut self,
        id: u32,
        format: Format,
        (width, height): (u32, u32),
    ) -> Result<(), Refusal> {
        if id == 0 || self.resources.contains_key(&id) {
            return Err(Refusal::Resource);
        }
        let bytes = Resource::bytes(width, height).ok_or(Refusal::Parameter)?;
        let held: usize = self.resources.values().map(|it| it.pixels.len()).sum();
        if held + bytes > MOST_BYTES || self.resources.len() >= MOST_RESOURCES {
            return Err(Refusal::OutOfMemory);
        }
        self.resources
            .insert(id, Resource::new(width, height, format));
        Ok(())
    }

    fn forget(&mut self, id: u32) -> Result<(), Refusal> {
        self.resources.remove(&id).ok_or(Refusal::Resource)?;
        if self.scanout.is_some_and(|it| it.resource == id) {
            self.scanout = None;
            self.damage.everything();
        }
        Ok(())
    }

    fn show(&mut self, part: Rect, scanout: u32, id: u32) -> Result<(), Refusal> {
        if scanout != 0 {
            return Err(Refusal::Scanout);
        }
        let wanted = if id == 0 {
            None
        } else {
            let found = self.resources.get(&id).ok_or(Refusal::Resource)?;
            if !found.has(part) || part.width == 0 || part.height == 0 {
                return Err(Refusal::Parameter);
            }
            Some(Scanout {
                resource: id,
                x: part.x,
                y: part.y,
                width: part.width,
                height: part.height,
            })
        };
        // A driver that has yet to show anything says that it shows nothing.
        self.shows |= wanted.is_some();
        self.scanout = wanted;
        self.damage.everything();
        Ok(())
    }

    fn attach(&mut self, chain: &Chain, id: u32, entries: u32) -> Result<(), Refusal> {
        let count = entries as usize;
        let other = self.resources.values().filter_map(|it| it.backing.as_ref());
        let held: usize = other.map(Backing::len).sum();
        if count > MOST_ENTRIES || held + count > MOST_BUFFERS {
            return Err(Refusal::OutOfMemory);
        }
        let resource = self.resource(id)?;
        if resource.backing.is_some() {
            return Err(Refusal::Unspecified);
        }
        let mut bytes = vec![0; count * Command::ENTRY];
        let read = chain.read_at(Command::ENTRIES, &mut bytes);
        read.map_err(|_| Refusal::Parameter)?;
        let spans = bytes.chunks_exact(Command::ENTRY).map(|entry| {
            let (mut address, mut len) = ([0; 8], [0; 4]);
            address.copy_from_slice(&entry[..8]);
            len.copy_from_slice(&entry[8..12]);
            (u64::from_le_bytes(address), u32::from_le_bytes(len))
        });
        resource.backing = Some(Backing::new(spans));
        Ok(())
    }

    /// Brings a picture up to date, `afresh` where it showed something else before. False where the
    /// screen is not the driver's.
    pub(super) fn draw(&mut self, afresh: bool, to: &mut Picture) -> bool {
        if !self.shows {
            return false;
        }
        if afresh {
            self.damage.everything();
        }
        let shown = self.scanout.as_ref();
        let shown = shown.and_then(|it| Some((it, self.resources.get(&it.resource)?)));
        match shown {
            Some((scanout, resource)) => scanout.draw(resource, &mut self.damage, to),
            None if !self.damage.is_empty() => {
                self.damage = Damage::default();
                to.tick();
                let dark = vec![0; to.width() as usize];
                (0..to.height()).for_each(|y| to.draw(0, y, &dark));
            }
            None => {}
        }
        true
    }

    /// The size that somebody who looks wishes for, as far as there are such monitors.
    pub(super) fn wish(&mut self, width: u16, height: u16) {
        // Timings count in characters of eight pixels.
        let width = u32::from(width).clamp(320, MAX_WIDTH) & !7;
        let height = u32::from(height).clamp(200, MAX_HEIGHT);
        let fit = |edge: u32| u16::try_from(edge).unwrap_or(u16::MAX);
        self.preferred = (fit(width), fit(height));
    }
}
