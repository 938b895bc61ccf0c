//! What of a picture is shown, and what of that was drawn since somebody looked.

use display::{Picture, Rect};
use serde::{Deserialize, Serialize};

use super::resource::Resource;

/// Parts that are remembered one by one. More are one that holds all.
const MOST_PARTS: usize = 16;

/// A part of a picture, as a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scanout {
    pub(super) resource: u32,
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Parts of the screen, in its own pixels.
#[derive(Debug, Default)]
pub(super) struct Damage {
    parts: Vec<Rect>,
    all: bool,
}

impl Damage {
    pub(super) fn everything(&mut self) {
        self.parts.clear();
        self.all = true;
    }

    fn add(&mut self, part: Rect) {
        if self.all || self.parts.iter().any(|known| holds(*known, part)) {
            return;
        }
        if self.parts.len() < MOST_PARTS {
            self.parts.push(part);
            return;
        }
        let both = self.parts.drain(..).fold(part, around);
        self.parts.push(both);
    }

    fn take(&mut self, whole: Rect) -> Vec<Rect> {
        let parts = std::mem::take(&mut self.parts);
        if std::mem::take(&mut self.all) {
            return vec![whole];
        }
        parts
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.parts.is_empty()
    }
}

fn holds(outer: Rect, inner: Rect) -> bool {
    around(outer, inner) == outer
}

/// The smallest part that holds both, which lie on one screen.
fn around(a: Rect, b: Rect) -> Rect {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    Rect {
        x,
        y,
        width: (a.x + a.width).max(b.x + b.width) - x,
        height: (a.y + a.height).max(b.y + b.height) - y,
    }
}

impl Scanout {
    /// The guest says that so much of the resource is as it shall be seen.
    pub(super) fn flush(&self, part: Rect, damage: &mut Damage) {
        let clip = |from: u32, len: u32, own: u32, own_len: u32| {
            let start = from.max(own);
            let end = (u64::from(from) + u64::from(len)).min(u64::from(own) + u64::from(own_len));
            let len = end.saturating_sub(start.into());
            u32::try_from(len)
                .ok()
                .filter(|len| *len > 0)
                .map(|len| (start - own, len))
        };
        let across = clip(part.x, part.width, self.x, self.width);
        let down = clip(part.y, part.height, self.y, self.height);
        if let (Some((x, width)), Some((y, height))) = (across, down) {
            damage.add(Rect {
                x,
                y,
                width,
                height,
            });
        }
    }

    /// Brings the screen's picture up to date.
    pub(super) fn draw(&self, resource: &Resource, damage: &mut Damage, to: &mut Picture) {
        if (self.width, self.height) != (to.width(), to.height()) {
            to.resize(self.width, self.height);
            damage.everything();
        }
        if damage.is_empty() {
            return;
        }
        to.tick();
        let whole = Rect {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        };
        let mut row = Vec::new();
        for part in damage.take(whole) {
            let part = to.clip(part);
            for y in part.y..part.y + part.height {
                resource.row(self.x + part.x, self.y + y, part.width, &mut row);
                to.draw(part.x, y, &row);
            }
        }
    }
}
