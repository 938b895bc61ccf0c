//! RAM as the MMU needs it on its slow path: base, length, host address, tracker.

use std::sync::Arc;

use memory::{GuestMemory, PageKind, PageTracker};

use super::writers::Writers;

#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) base: u64,
    pub(crate) len: u64,
    /// Host address of the first byte; valid while the vCPU's `GuestMemory` handle lives.
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

pub(crate) fn regions(memory: &GuestMemory) -> Vec<Region> {
    let of = |range: memory::RamRange| {
        let page = memory.host_page(range.base)?;
        let (base, len) = (range.base.0, range.len);
        Some(Region {
            base,
            len,
            host: page.host as u64,
            tracker: Arc::new(page.tracker),
            writers: Writers::none((len >> memory::PAGE_SHIFT) as usize),
        })
    };
    memory.mapped_ranges().into_iter().filter_map(of).collect()
}
