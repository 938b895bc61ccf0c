//! Pages around guest RAM that must not be touched: whoever reaches past its end crashes at once.
//!
//! The interpreter accesses RAM by instructions of its own choosing, which no sanitizer sees.

use memory::{Gpa, GuestMemory, PAGE_SIZE};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

const PAGE: usize = 4096;
const LEN: usize = 16 * PAGE;

/// The guards of one guest's RAM. They go when this is dropped.
#[derive(Debug)]
pub(super) struct Guards(Vec<usize>);

impl Guards {
    /// Puts guards before and behind each range, where nothing else is.
    pub(super) fn new(memory: &GuestMemory) -> Guards {
        let mut guards = Vec::new();
        for range in memory.ranges() {
            let first = memory.host_page(range.base);
            let last = memory.host_page(Gpa(range.base.0 + range.len - PAGE_SIZE));
            let before = first.map(|page| page.host.addr() - LEN);
            let behind = last.map(|page| page.host.addr() + PAGE);
            for at in [before, behind].into_iter().flatten() {
                let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
                let place = std::ptr::without_provenance_mut(at);
                // SAFETY: the kernel refuses the place if anything is there, so that nothing of
                // ours changes.
                let mapped = unsafe { mmap_anonymous(place, LEN, ProtFlags::empty(), flags) };
                guards.extend(mapped.map(|guard| guard.addr()));
            }
        }
        Guards(guards)
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        for &guard in &self.0 {
            // SAFETY: mapped by `new` with this length, and nothing points into it.
            let unmapped = unsafe { munmap(std::ptr::without_provenance_mut(guard), LEN) };
            unmapped.expect("our own mapping");
        }
    }
}
