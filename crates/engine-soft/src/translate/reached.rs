//! Accesses that need no check: their pointer was found before, by a group or by a loop's stream.

use super::emitter::Emitter;
use super::native;
use super::registers::{Number, R12, R13, RAX, host_of};

/// Pointers that the vCPU keeps at a time.
pub(super) const SLOTS: usize = 6;

/// Where a pointer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In R12.
    Register,
    /// In the vCPU, below [`SLOTS`].
    Slot(usize),
}

impl Place {
    /// All of them, the best first.
    pub(super) fn all() -> impl Iterator<Item = Place> {
        std::iter::once(Place::Register).chain((0..SLOTS).map(Place::Slot))
    }
}

/// How the access of an instruction is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) place: Place,
    /// The guest register that is added to the pointer, and its scale.
    pub(super) follows: Option<(Number, u32)>,
    pub(super) disp: i64,
}

impl Reached {
    /// Where the pointer is when the access is made.
    pub(super) fn pointer(self) -> Number {
        match self.place {
            Place::Register => R12,
            Place::Slot(_) => R13,
        }
    }

    /// The host register to be added to it.
    pub(super) fn index(self) -> Option<(Number, u32)> {
        self.follows
            .map(|(guest, scale)| (host_of(guest).unwrap_or(RAX), scale))
    }
}

impl Emitter<'_> {
    /// Loads what the access is reached by and no register holds. Keeps EFLAGS.
    pub(super) fn load_reached(&mut self, reached: Reached) {
        if let Place::Slot(number) = reached.place {
            self.asm.load(R13, native::pointer(number));
        }
        if let Some((guest, _)) = reached.follows
            && host_of(guest).is_none()
        {
            self.load_guest(RAX, guest);
        }
    }

    /// Keeps the pointer in RAX in its place.
    pub(super) fn keep_pointer(&mut self, place: Place) {
        match place {
            Place::Register => self.asm.copy(R12, RAX),
            Place::Slot(number) => self.asm.store(native::pointer(number), RAX),
        }
    }
}
