//! The receiver of a 16550A: sixteen bytes with their errors, or one when the FIFOs are off.
//!
//! Spec: National Semiconductor PC16550D datasheet, "FIFO Control Register".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const DEPTH: usize = 16;
const TRIGGERS: [usize; 4] = [1, 4, 8, 14];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) byte: u8,
    /// As bits of the line status register.
    pub(super) errors: u8,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fifo {
    bytes: VecDeque<Received>,
    enabled: bool,
    trigger: u8,
    /// What an empty receiver reads: the last byte.
    last: u8,
}

impl Fifo {
    pub(super) fn sanitise(&mut self) {
        self.bytes.truncate(self.depth());
        self.trigger &= 3;
    }

    fn depth(&self) -> usize {
        if self.enabled { DEPTH } else { 1 }
    }

    pub(super) fn configure(&mut self, enabled: bool, trigger: u8) {
        self.enabled = enabled;
        self.trigger = if enabled { trigger & 3 } else { 0 };
    }

    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    pub(super) fn room(&self) -> usize {
        self.depth().saturating_sub(self.bytes.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Has the level been reached at which the interrupt is wanted?
    pub(super) fn triggered(&self) -> bool {
        let level = TRIGGERS[usize::from(self.trigger & 3)];
        self.bytes.len() >= if self.enabled { level } else { 1 }
    }

    /// Takes a byte; drops it when full.
    pub(super) fn push(&mut self, received: Received) {
        if self.room() > 0 {
            self.bytes.push_back(received);
        }
    }

    pub(super) fn pop(&mut self) -> u8 {
        if let Some(received) = self.bytes.pop_front() {
            self.last = received.byte;
        }
        self.last
    }

    /// The errors of the byte at the front, which are then told.
    pub(super) fn take_errors(&mut self) -> u8 {
        let front = self.bytes.front_mut();
        front.map_or(0, |received| std::mem::take(&mut received.errors))
    }

    pub(super) fn has_errors(&self) -> bool {
        self.bytes.iter().any(|received| received.errors != 0)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}
