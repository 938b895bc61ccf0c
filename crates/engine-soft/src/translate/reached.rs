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
    /// In R13, for one access.
    Scratch,
}

impl Place {
    /// Those that keep one, the best first.
    pub(super) fn all() -> impl Iterator<Item = Place> {
        std::iter::once(Place::Register).chain((0..SLOTS).map(Place::Slot))
    }
}

impl Place {
    /// The register that the pointer is in when it is used.
    pub(super) fn register(self) -> Number {
        match self {
            Place::Register => R12,
            Place::Slot(_) | Place::Scratch => R13,
        }
    }
}

/// An address of the guest's, as the processor adds it up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    /// A guest register that is added to the pointer once.
    pub(super) base: Option<Number>,
    /// One that each access adds, and its scale.
    pub(super) follows: Option<(Number, u32)>,
    pub(super) disp: i64,
}

impl Address {
    /// That of what lies at `disp` from a guest register.
    pub(super) fn beside(base: Number, disp: i64) -> Address {
        Address {
            base: Some(base),
            follows: None,
            disp,
        }
    }

    /// How its one access is reached.
    pub(super) fn reached(self) -> Reached {
        Reached {
            place: Place::Scratch,
            follows: self.follows,
            disp: self.disp,
        }
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
        self.place.register()
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
            Place::Scratch => self.asm.copy(R13, RAX),
        }
    }
}
