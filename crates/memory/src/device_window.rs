//! A window on a device's RAM, at another address than the RAM itself: the part of a screen's memory that
//! programs of the old world know.
//!
//! Which part it shows changes behind the engines' backs, as what an address of guest RAM means does: their
//! pointers stay, and the host's mapping behind them changes in one system call. What is written through it
//! comes into the log of the memory that it shows. Code that runs from there is not known by its other
//! address: a program that writes code through the one and runs it through the other is not seen.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device_memory::DeviceMemory;
use crate::{Gpa, PAGE_SIZE};

/// A part of the memory, and where the guest finds it. All of it is page-aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub at: Gpa,
    /// Of its first byte in the memory.
    pub offset: u64,
    /// In bytes.
    pub len: u64,
}

#[derive(Debug)]
pub struct DeviceWindow {
    /// What engines map: the same file as the memory's.
    pane: DeviceMemory,
    memory: DeviceMemory,
    shown: Mutex<Option<Part>>,
}

impl DeviceWindow {
    pub(crate) fn new(pane: DeviceMemory, memory: DeviceMemory) -> DeviceWindow {
        DeviceWindow {
            pane,
            memory,
            shown: Mutex::default(),
        }
    }

    /// Shows that part, or nothing. A part that cannot be shown is reached by exits.
    pub fn show(&self, wanted: Option<Part>) {
        let mut shown = self.lock();
        if *shown == wanted {
            return;
        }
        let before = shown.take();
        if let Some(part) = before {
            // What was written, and what still is while it moves.
            self.memory.note_written(pages(&part));
        }
        let stays = before
            .zip(wanted)
            .is_some_and(|(before, wanted)| (before.at, before.len) == (wanted.at, wanted.len));
        if !stays {
            self.pane.place(None);
        }
        let Some(part) = wanted else {
            return;
        };
        let inside = part.offset.checked_add(part.len);
        let inside = inside.is_some_and(|end| end <= self.memory.size());
        if !inside || self.pane.map_part(part.offset, part.len).is_err() {
            self.pane.place(None);
            return;
        }
        self.pane.note_written(0..part.len / PAGE_SIZE);
        self.pane.place(Some(part.at));
        *shown = Some(part);
    }

    /// The memory's log has all that was written through the window.
    pub fn carry(&self) {
        let shown = self.lock();
        let written = self.pane.take_dirty();
        let Some(part) = *shown else {
            return;
        };
        let first = part.offset / PAGE_SIZE;
        for page in written {
            let page = page as u64;
            if page < part.len / PAGE_SIZE {
                self.memory.note_written(first + page..first + page + 1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Part>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pages(part: &Part) -> std::ops::Range<u64> {
    part.offset / PAGE_SIZE..(part.offset + part.len) / PAGE_SIZE
}

#[cfg(test)]
mod tests;
