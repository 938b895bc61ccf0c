//! RAM in pages of two megabytes, where the host's kernel gives such to who asks: a guest that reaches all over its
//! memory waits for the host's TLB up to four times as long without them.
//!
//! A guest that hands single pages back gets no more of them: the kernel would fill the gaps again when it makes small
//! pages into a huge one. Those that it has stay, but for the pages that it hands back.
//!
//! Spec: Linux Documentation/admin-guide/mm/transhuge.rst.

use std::sync::atomic::Ordering;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::mapping_raw::Stretch;
use crate::GuestMemory;

impl GuestMemory {
    pub(super) fn use_huge_pages(&self) {
        self.huge.store(true, Ordering::Relaxed);
        self.prefer_huge(true);
    }

    /// `stretch` is handed back. Whole huge pages leave no gap.
    pub(super) fn note_gap(&self, stretch: Stretch) {
        if !stretch.is_of_huge_pages() && self.huge.swap(false, Ordering::Relaxed) {
            self.prefer_huge(false);
        }
    }

    /// A host that knows of no huge pages has small ones.
    pub(super) fn prefer_huge(&self, huge: bool) {
        for region in self.ram.iter() {
            if let Some(stretch) = Stretch::of(region, 0, region.len()) {
                let _ = stretch.prefer_huge(huge);
            }
        }
    }
}
