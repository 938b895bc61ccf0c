//! First addresses for base address registers, where no firmware gives them.

use std::ops::Range;

use thiserror::Error;

use crate::pci::BarKind;
use crate::pci::config::Bar;

/// The address ranges that the machine forwards to the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciWindows {
    /// Below 4 GiB.
    pub memory32: Range<u64>,
    /// For 64-bit registers that do not fit below 4 GiB.
    pub memory64: Option<Range<u64>>,
    pub io: Range<u64>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("no room in the PCI windows for a region of {len} bytes")]
pub struct AssignError {
    pub len: u64,
}

/// Hands out addresses upwards, each aligned to its length.
#[derive(Debug)]
pub(crate) struct Allocator {
    windows: PciWindows,
}

impl Allocator {
    pub(crate) fn new(windows: &PciWindows) -> Allocator {
        Allocator {
            windows: windows.clone(),
        }
    }

    pub(crate) fn take(&mut self, bar: Bar) -> Result<u64, AssignError> {
        let found = match bar.kind {
            BarKind::Io => carve(&mut self.windows.io, bar.len),
            BarKind::Memory32 => carve(&mut self.windows.memory32, bar.len),
            // Below 4 GiB first: a guest without 64-bit addresses must reach its devices.
            BarKind::Memory64 => carve(&mut self.windows.memory32, bar.len)
                .or_else(|| carve(self.windows.memory64.as_mut()?, bar.len)),
        };
        found.ok_or(AssignError { len: bar.len })
    }
}

fn carve(window: &mut Range<u64>, len: u64) -> Option<u64> {
    let base = window.start.checked_next_multiple_of(len)?;
    let end = base.checked_add(len)?;
    if end > window.end || base == 0 {
        return None;
    }
    window.start = end;
    Some(base)
}
