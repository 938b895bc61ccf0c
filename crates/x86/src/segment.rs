//! Segment registers with their hidden parts. Spec: Intel SDM Vol. 3, "Segment Descriptors".

use serde::{Deserialize, Serialize};

/// Index of each segment register in [`crate::CpuState::segments`]; the encoding's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum SegmentRegister {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

/// A segment register: selector and descriptor cache.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub selector: u16,
    pub base: u64,
    /// In bytes, granularity already applied: the last valid offset (expand-up).
    pub limit: u32,
    /// Descriptor bits 40..=55 as in a VMCS "access rights" field: type 0-3, S 4, DPL 5-6, P 7,
    /// AVL 12, L 13, D/B 14, G 15.
    pub rights: u16,
    /// The register was loaded with a null selector: any use faults (outside 64-bit mode).
    pub unusable: bool,
}

impl Segment {
    pub const ACCESSED: u16 = 1 << 0;
    /// Data: writable. Code: readable.
    pub const WRITABLE: u16 = 1 << 1;
    pub const READABLE: u16 = 1 << 1;
    /// Data: expand-down. Code: conforming.
    pub const EXPAND_DOWN: u16 = 1 << 2;
    pub const CONFORMING: u16 = 1 << 2;
    pub const CODE: u16 = 1 << 3;
    pub const NOT_SYSTEM: u16 = 1 << 4;
    pub const PRESENT: u16 = 1 << 7;
    pub const LONG: u16 = 1 << 13;
    pub const BIG: u16 = 1 << 14;
    pub const GRANULAR: u16 = 1 << 15;

    /// What a register holds in real mode after `mov sreg, selector`.
    #[must_use]
    pub const fn real(selector: u16) -> Segment {
        Segment {
            selector,
            base: (selector as u64) << 4,
            limit: 0xffff,
            rights: Self::PRESENT | Self::NOT_SYSTEM | Self::WRITABLE | Self::ACCESSED,
            unusable: false,
        }
    }

    /// The cache that the 8-byte descriptor `raw` fills.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the field's width first"
    )]
    pub const fn from_descriptor(selector: u16, raw: u64) -> Segment {
        let rights = ((raw >> 40) & 0xf0ff) as u16;
        let limit = ((raw & 0xffff) | ((raw >> 32) & 0xf_0000)) as u32;
        let base = ((raw >> 16) & 0xff_ffff) | ((raw >> 32) & 0xff00_0000);
        let limit = if rights & Self::GRANULAR != 0 {
            (limit << 12) | 0xfff
        } else {
            limit
        };
        Segment {
            selector,
            base,
            limit,
            rights,
            unusable: false,
        }
    }

    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.rights & 0xf) as u8
    }

    #[must_use]
    pub const fn dpl(self) -> u8 {
        ((self.rights >> 5) & 3) as u8
    }

    #[must_use]
    pub const fn has(self, bit: u16) -> bool {
        self.rights & bit != 0
    }
}

/// GDTR or IDTR.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorTable {
    pub base: u64,
    /// Last valid offset, in bytes.
    pub limit: u16,
}
