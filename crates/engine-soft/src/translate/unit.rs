//! A unit of translation: straight code inside one page, with side exits where it branches.

use iced_x86::Code;

use super::mode::Mode;
use crate::interp::op::Op;

/// An instruction as its interpreter handler knows it: the way out of translated code for whatever
/// has no translation, misses the TLB, faults, or talks to a device.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Site {
    pub(super) op: Op,
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
    /// Page offset of the target.
    pub(super) target: u16,
    /// Executable address of the jump's displacement.
    pub(super) patch: u64,
    /// Guest-physical page that both lie in.
    pub(super) page: u64,
}

/// Things whose addresses code holds: they do not move, and go all at once.
#[derive(Debug)]
pub(super) struct Fixed<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Fixed<T> {
    const CHUNK: usize = 1024;

    pub(super) const fn new() -> Fixed<T> {
        Fixed { chunks: Vec::new() }
    }

    /// Keeps `value` and answers its address.
    pub(super) fn add(&mut self, value: T) -> u64 {
        if self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.len() == Self::CHUNK)
        {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return 0;
        };
        // Within its capacity a vector does not move what it holds.
        chunk.push(value);
        chunk
            .last()
            .map_or(0, |last| std::ptr::from_ref(last) as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.len() * Self::CHUNK
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
    }
}

/// What the code of all units refers to.
#[derive(Debug)]
pub(super) struct Referred {
    pub(super) sites: Fixed<Site>,
    pub(super) links: Fixed<Link>,
}

impl Referred {
    pub(super) const fn new() -> Referred {
        Referred {
            sites: Fixed::new(),
            links: Fixed::new(),
        }
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
