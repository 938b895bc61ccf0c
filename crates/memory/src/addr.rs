//! Address spaces. Mixing two of them is a type error, never a bug report.

use serde::{Deserialize, Serialize};

pub const PAGE_SHIFT: u32 = 12;
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Guest-physical address: what the chipset and DMA see.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Gpa(pub u64);

/// Guest-linear address: after segmentation, before paging.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gla(pub u64);

impl Gpa {
    /// `self + len`, or `None` past the end of the address space.
    #[must_use]
    pub fn checked_add(self, len: u64) -> Option<Gpa> {
        self.0.checked_add(len).map(Gpa)
    }

    /// The first byte of the page that holds this address.
    #[must_use]
    pub fn page_base(self) -> Gpa {
        Gpa(self.0 & !(PAGE_SIZE - 1))
    }
}
