//! RAM that the host may merge with equal pages of others (KSM), by its owner's wish: whoever can tell
//! how long a write takes can find out that somebody else has the same page.

use std::io;
use std::sync::atomic::Ordering;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::mapping_raw::Stretch;
use crate::GuestMemory;

impl GuestMemory {
    /// Has the host look for pages of this RAM that others have as well. What is mapped to it later
    /// is as the rest.
    ///
    /// # Errors
    /// When the host's kernel cannot do that.
    pub fn merge(&self) -> io::Result<()> {
        for region in self.ram.iter() {
            if let Some(stretch) = Stretch::of(region, 0, region.len()) {
                stretch.merge()?;
            }
        }
        self.mergeable.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// This stretch has been mapped anew.
    pub(super) fn as_the_rest(&self, stretch: Stretch) {
        if self.mergeable.load(Ordering::Relaxed) {
            // It could be done to what was there.
            let _ = stretch.merge();
        }
    }
}
