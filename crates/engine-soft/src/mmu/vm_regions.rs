//! RAM as the MMU needs it on its slow path: base, length, host address, tracker.

use std::sync::Arc;

use memory::{GuestMemory, HostPage, PageKind, PageTracker};

use super::writers::Writers;

#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) base: u64,
    pub(crate) len: u64,
    /// Host address of the first byte; valid while the vCPU's `GuestMemory` handle lives, which keeps
    /// device memory too.
    pub(crate) host: u64,
    pub(crate) tracker: Arc<PageTracker>,
    pub(super) writers: Writers,
}

impl Region {
    /// What is at `gpa`, which must lie in the region.
    pub(crate) fn kind(&self, gpa: u64) -> PageKind {
        self.tracker.kind(self.page(gpa))
    }

    /// Index of the page of `gpa`, which must lie in the region.
    pub(crate) fn page(&self, gpa: u64) -> usize {
        ((gpa - self.base) >> memory::PAGE_SHIFT) as usize
    }
}

/// The guest's own, and then what devices have where it lies now.
pub(crate) fn regions(memory: &GuestMemory) -> Vec<Region> {
    let of = |range: memory::RamRange, page: Option<HostPage>| {
        let (page, len) = (page?, range.len);
        Some(Region {
            base: range.base.0,
            len,
            host: page.host as u64,
            tracker: Arc::new(page.tracker),
            writers: Writers::none((len >> memory::PAGE_SHIFT) as usize),
        })
    };
    let own = memory.mapped_ranges().into_iter();
    let own = own.filter_map(|range| of(range, memory.host_page(range.base)));
    let placed = memory.device_memories().placed().into_iter();
    own.chain(placed.filter_map(|(range, device)| of(range, device.first_page())))
        .collect()
}
