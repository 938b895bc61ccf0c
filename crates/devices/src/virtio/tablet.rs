//! A tablet: a pointer that is where the hand is, which a mouse is not. Its buttons and wheel with it.
//!
//! Events wait in one queue of the host's until the guest has buffers. A guest that does not take them
//! gets the newest: movements that wait are replaced by later ones.

use std::collections::VecDeque;
use std::sync::Arc;

use super::input::{
    About, EV_KEY, EV_SYN, Event, Events, Input, SELECT_AXIS, SELECT_EVENTS, Shared, bits, is_input,
};

/// Coordinates go from 0 to this.
pub const FURTHEST: u16 = 0x7fff;
/// Reports that wait.
const MOST: usize = 64;

const EV_REL: u16 = 2;
const EV_ABS: u16 = 3;
const WHEEL: u16 = 8;
/// Left, right, middle, side and extra follow each other.
const BUTTON_LEFT: u16 = 0x110;
const BUTTONS: u16 = 5;

const ABOUT: About = About {
    kind: "virtio-tablet",
    name: b"Innkeeper tablet",
    // Another input device than those of the list.
    class: 0x09_80_00,
    has,
};

fn has(select: u8, subselect: u16) -> Vec<u8> {
    match (select, subselect) {
        (SELECT_EVENTS, EV_KEY) => bits(BUTTON_LEFT..BUTTON_LEFT + BUTTONS),
        (SELECT_EVENTS, EV_REL) => bits(WHEEL..WHEEL + 1),
        (SELECT_EVENTS, EV_ABS) => bits(0..2),
        (SELECT_AXIS, 0 | 1) => {
            let axis = [0, u32::from(FURTHEST), 0, 0, 0];
            axis.map(u32::to_le_bytes).concat()
        }
        _ => Vec::new(),
    }
}

/// Where the hand is, and what it does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TabletEvent {
    /// From left to right and from top to bottom, up to [`FURTHEST`].
    pub x: u16,
    pub y: u16,
    /// Towards the person, in counts.
    pub wheel: i32,
    /// Held buttons: bit 0 left, 1 right, 2 middle, 3 and 4 the side ones.
    pub buttons: u8,
}

#[derive(Debug, Default)]
struct Waiting {
    reports: VecDeque<TabletEvent>,
    /// Of one report, what is still to be told.
    events: VecDeque<Event>,
    told_buttons: u8,
}

impl Events for Waiting {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.reports.is_empty()
    }

    fn next(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            let report = self.reports.pop_front()?;
            self.begin(report);
        }
        self.events.pop_front()
    }
}

impl Waiting {
    fn add(&mut self, event: TabletEvent) {
        let last = self.reports.back();
        let moves_on = last.is_some_and(|last| last.buttons == event.buttons && last.wheel == 0);
        if moves_on && event.wheel == 0 || self.reports.len() >= MOST {
            self.reports.pop_back();
        }
        self.reports.push_back(event);
    }

    fn begin(&mut self, report: TabletEvent) {
        let axis = |place: u16| i32::from(place.min(FURTHEST));
        self.events.push_back((EV_ABS, 0, axis(report.x)));
        self.events.push_back((EV_ABS, 1, axis(report.y)));
        let changed = self.told_buttons ^ report.buttons;
        for button in 0..BUTTONS {
            if changed >> button & 1 != 0 {
                let held = i32::from(report.buttons >> button & 1);
                self.events.push_back((EV_KEY, BUTTON_LEFT + button, held));
            }
        }
        if report.wheel != 0 {
            // Away from the person counts up.
            let turned = report.wheel.saturating_neg();
            self.events.push_back((EV_REL, WHEEL, turned));
        }
        self.events.push_back((EV_SYN, 0, 0));
        self.told_buttons = report.buttons;
    }
}

/// The host's end.
#[derive(Debug, Clone)]
pub struct TabletHandle {
    shared: Arc<Shared<Waiting>>,
}

impl TabletHandle {
    /// False where the guest has no driver for it: it is to be told otherwise.
    #[must_use]
    pub fn point(&self, event: TabletEvent) -> bool {
        let used = self.shared.is_used();
        if used {
            self.shared.add(|waiting| waiting.add(event));
        }
        used
    }
}

#[derive(Debug)]
pub struct Tablet {
    input: Input<Waiting>,
}

impl Tablet {
    /// # Errors
    /// When the host has no descriptor left.
    pub fn new() -> std::io::Result<Tablet> {
        Ok(Tablet {
            input: Input::new(ABOUT)?,
        })
    }

    #[must_use]
    pub fn handle(&self) -> TabletHandle {
        TabletHandle {
            shared: Arc::clone(&self.input.shared),
        }
    }
}

is_input!(Tablet);

#[cfg(test)]
mod tests;
