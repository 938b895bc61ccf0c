//! A unit of translation: straight code inside one page, with side exits where it branches.

use std::fs::File;

use iced_x86::Code;

use super::handler_raw::Distance;
use super::image::Span;
use super::mode::Mode;
use super::shelf_raw::Shelf;
use crate::interp::op::Op;

/// An instruction as its interpreter handler knows it: the way out of translated code for whatever
/// has no translation, misses the TLB, faults, or talks to a device.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Site {
    /// Its own handler is of no use: that may be elsewhere in the process that runs it.
    pub(super) op: Op,
    pub(super) handler: Distance,
    /// Page offset of the unit, which `op.start` counts from.
    pub(super) unit: u16,
    /// Page offset of the instruction after this one; a page's size at its end.
    pub(super) after: u16,
    /// What the unit takes for granted.
    pub(super) mode: Mode,
    /// The unit does not go on after this instruction's handler.
    pub(super) ends: bool,
    /// What follows in the unit runs with the x87 state loaded.
    pub(super) x87: bool,
    /// The unit runs with the vector registers loaded.
    pub(super) vectors: bool,
    /// Which instruction, and whether it has a translation that the handler only stands in for.
    pub(super) code: Code,
    pub(super) stands_in: bool,
}

/// A direct jump to another unit of the same page that did not exist when this one was made.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Link {
    pub(super) kind: Kind,
    /// Of both units.
    pub(super) mode: Mode,
    /// Page offset of the target.
    pub(super) target: u16,
    /// Executable address of the jump's displacement.
    pub(super) patch: u64,
    /// Guest-physical page that both lie in.
    pub(super) page: u64,
}

/// What the code of all units refers to.
#[derive(Debug)]
pub(super) struct Referred {
    pub(super) sites: Shelf<Site>,
    pub(super) links: Shelf<Link>,
}

impl Referred {
    /// More than one unit can have of either.
    const OF_A_UNIT: usize = 1 << 14;

    /// For so many of either, but for the last unit's. `None` when the host gives no memory.
    pub(super) fn new(most: usize) -> Option<Referred> {
        let most = most + Self::OF_A_UNIT;
        Some(Referred {
            sites: Shelf::new(most)?,
            links: Shelf::new(most)?,
        })
    }

    /// Those of another, at the addresses where they were, from parts of a file.
    pub(super) fn inherit(
        most: usize,
        file: &File,
        sites: (u64, Span),
        links: (u64, Span),
    ) -> Option<Referred> {
        let most = most + Self::OF_A_UNIT;
        Some(Referred {
            sites: Shelf::at(sites.0, most, file, sites.1)?,
            links: Shelf::at(links.0, most, file, links.1)?,
        })
    }

    /// Is there room for one unit more?
    pub(super) fn has_room(&self) -> bool {
        self.sites.has_room(Self::OF_A_UNIT) && self.links.has_room(Self::OF_A_UNIT)
    }

    pub(super) fn clear(&mut self) {
        self.sites.clear();
        self.links.clear();
    }
}

/// A translation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    /// Where jumps inside the page enter.
    pub(super) inner: u64,
    /// Where everybody else enters, with the linear address in RAX.
    pub(super) outer: u64,
}

/// How a unit begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Usual,
    /// Its first access is not one of a group: where a group of another unit could not be opened.
    Plain,
}

/// Key of a unit in its page.
pub(super) fn key(offset: u16, mode: Mode, kind: Kind) -> u32 {
    u32::from(offset) | u32::from(mode.bits()) << 12 | (kind as u32) << 17
}

/// Why translated code returned.
#[derive(Debug)]
pub(crate) enum Left {
    /// RIP and everything else is right: look around and go on.
    Next,
    /// As `Next`, but the code at RIP must be interpreted.
    Interpret,
    /// A handler stopped. The op, and the linear address of what `op.start` counts from.
    Stopped(crate::interp::op::Stop, u64, Op),
}
