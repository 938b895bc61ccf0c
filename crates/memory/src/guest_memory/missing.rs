//! Pages that come when the guest runs already (post-copy): whoever touches one waits until it has come.
//!
//! What has come before is mapped as for any guest that was saved; around it RAM is memory without a file, of
//! which userfaultfd tells who misses a page. That holds for vCPUs of all engines, devices' threads, KVM and system
//! calls, and none of them knows. What is in such memory and was never to come is zeros, which are put there when
//! somebody touches them.
//!
//! **What the guest gives back is not missing any more**, so that what still comes of it does not replace the
//! zeros that it has there ([`GuestMemory::discard`]). Who waited for it hears of that when it comes.
//!
//! **Huge pages** would have zeros in the place of pages that are missing. Where RAM is read rather than mapped there
//! are none until all has come; where faults are told, the kernel makes none.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::layers::{Layer, LayerError, mapped};
use super::userfault_raw::Userfault;
use super::{GuestMemory, RamRange};
use crate::{Gpa, PAGE_SHIFT, PAGE_SIZE, PageSet};

/// What of a guest's memory has not come.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// There may be some.
    any: AtomicBool,
    pages: Mutex<PageSet>,
}

impl Missing {
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, PageSet> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pages of a guest that have not come, for whoever has them come.
#[derive(Debug)]
pub struct MissingPages {
    userfault: Userfault,
    memory: GuestMemory,
    /// Memory without a file, some of which is missing.
    private: Vec<RamRange>,
    /// Addresses for which somebody waits, and which could not be looked after.
    unanswered: Mutex<Vec<usize>>,
}

impl GuestMemory {
    /// Makes RAM, which nobody has touched, what `layers` hold, as [`GuestMemory::map_layers`] does, but for the pages
    /// `missing`: whoever touches one of these waits, from [`MissingPages::begin`] on.
    ///
    /// # Errors
    /// Likewise; and when a page would be there and missing, or cannot be.
    pub fn map_layers_without(
        &self,
        layers: &[Layer],
        missing: PageSet,
        userfault: Userfault,
    ) -> Result<MissingPages, LayerError> {
        let runs = missing.runs();
        let there = layers.iter().flat_map(|layer| &layer.runs);
        for run in there {
            let first = missing.next(run.first);
            if first.is_some_and(|page| page < run.first.saturating_add(run.count)) {
                return Err(LayerError::Runs);
            }
        }
        for run in &runs {
            let (at, len) = self.range_of(run).ok_or(LayerError::Runs)?;
            if self.piece(at, len) != (len, false) {
                return Err(LayerError::Runs);
            }
        }
        self.prefer_huge(false);
        self.map_layers(layers)?;
        *self.missing.lock() = missing;
        self.missing.any.store(true, Ordering::SeqCst);
        Ok(MissingPages {
            userfault,
            private: self.without_file(layers),
            unanswered: Mutex::default(),
            memory: self.clone(),
        })
    }

    /// The guest has no use for these pages: nothing that comes is for them.
    pub(super) fn miss_no_more(&self, at: Gpa, len: u64) {
        if !self.missing.any.load(Ordering::SeqCst) {
            return;
        }
        if let Some(first) = self.number_of(at) {
            let mut missing = self.missing.lock();
            for page in first..first + len / PAGE_SIZE {
                missing.remove(page);
            }
        }
    }

    /// All that is private memory without a file, once these layers are mapped.
    fn without_file(&self, layers: &[Layer]) -> Vec<RamRange> {
        let mut taken = mapped(layers);
        taken.sort_unstable_by_key(|run| run.start);
        let mut ranges = Vec::new();
        let mut first = 0;
        for region in self.ram.iter() {
            let end = first + region.len() / PAGE_SIZE;
            let mut page = first;
            for run in taken
                .iter()
                .filter(|run| run.end > first && run.start < end)
            {
                self.push_private(page..run.start, &mut ranges);
                page = page.max(run.end);
            }
            self.push_private(page..end, &mut ranges);
            first = end;
        }
        ranges
    }

    fn push_private(&self, pages: Range<u64>, ranges: &mut Vec<RamRange>) {
        if let Some((mut at, mut left)) = self.range_of(&pages) {
            while left > 0 {
                let (len, is_shared) = self.piece(at, left);
                if !is_shared {
                    ranges.push(RamRange { base: at, len });
                }
                (at, left) = (Gpa(at.0 + len), left - len);
            }
        }
    }

    /// Where these pages, of one range, lie.
    fn range_of(&self, pages: &Range<u64>) -> Option<(Gpa, u64)> {
        let mut first = 0;
        for region in self.ram.iter() {
            let count = region.len() / PAGE_SIZE;
            if (first..first + count).contains(&pages.start) {
                let fits = pages.end > pages.start && pages.end <= first + count;
                let at = Gpa(region.start_addr().0 + (pages.start - first) * PAGE_SIZE);
                return fits.then_some((at, (pages.end - pages.start) * PAGE_SIZE));
            }
            first += count;
        }
        None
    }

    /// The number of the page at `at`.
    fn number_of(&self, at: Gpa) -> Option<u64> {
        let mut first = 0;
        for region in self.ram.iter() {
            let inside = at.0.checked_sub(region.start_addr().0);
            if let Some(inside) = inside.filter(|inside| *inside < region.len()) {
                return Some(first + inside / PAGE_SIZE);
            }
            first += region.len() / PAGE_SIZE;
        }
        None
    }
}

impl MissingPages {
    /// Before anybody touches RAM. Of the kernel's requests that this takes, a jail may leave few.
    ///
    /// # Errors
    /// When the kernel refuses: RAM is not to be used then.
    pub fn begin(&self) -> io::Result<()> {
        let missing = self.pages();
        for range in &self.private {
            let first = self.memory.number_of(range.base).unwrap_or(u64::MAX);
            let next = missing.next(first);
            if next.is_some_and(|page| page - first < range.len / PAGE_SIZE) {
                let (host, len) = self.memory.stretch(*range)?.bytes();
                self.userfault.register(host, len)?;
            }
        }
        Ok(())
    }

    /// How many pages all memory has.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.memory.missing.lock().all()
    }

    /// How many there are.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.memory.missing.lock().len()
    }

    /// Those that there are now.
    #[must_use]
    pub fn pages(&self) -> PageSet {
        self.memory.missing.lock().clone()
    }

    /// Those for which somebody has begun to wait, since it was asked last; [`MissingPages::as_fd`] is readable when there
    /// are some.
    ///
    /// # Errors
    /// When the host fails. What could not be looked after is the next time.
    pub fn wanted(&self) -> io::Result<Vec<u64>> {
        let told = self.userfault.faults()?;
        let mut unanswered = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unanswered.extend(told);
        let mut wanted = Vec::new();
        let mut failed = None;
        unanswered.retain(|&address| {
            let Some((page, host)) = self.page_at(address) else {
                return false;
            };
            if self.memory.missing.lock().contains(page) {
                // It is asked for again as long as another cannot be looked after.
                wanted.push(page);
                return true;
            }
            let put = self.userfault.put_zeros(host);
            put.map_err(|error| failed = Some(error)).is_err()
        });
        if let Some(error) = failed {
            return Err(error);
        }
        unanswered.clear();
        Ok(wanted)
    }

    /// A page has come: as `bytes`, or as zeros. Whoever waits for it goes on.
    ///
    /// # Errors
    /// When the host has no memory.
    pub fn put(&self, page: u64, bytes: Option<&[u8; 1 << PAGE_SHIFT]>) -> io::Result<()> {
        let Some(host) = self.host_of(page) else {
            return Ok(());
        };
        // Until it is there, so that nobody gives it back in between.
        let mut missing = self.memory.missing.lock();
        if !missing.contains(page) {
            return self.userfault.wake(host);
        }
        match bytes {
            Some(bytes) => self.userfault.put(host, bytes)?,
            None => self.userfault.put_zeros(host)?,
        }
        missing.remove(page);
        Ok(())
    }

    fn host_of(&self, page: u64) -> Option<*const u8> {
        let (at, _) = self.memory.range_of(&(page..page.checked_add(1)?))?;
        self.memory.host_page(at).map(|page| page.host.cast_const())
    }

    /// The page that has the host's address `address`, and where it begins.
    fn page_at(&self, address: usize) -> Option<(u64, *const u8)> {
        for region in self.memory.ram.iter() {
            let start = region.get_host_address(MemoryRegionAddress(0)).ok()?;
            let Some(inside) = address.checked_sub(start as usize) else {
                continue;
            };
            let inside = (inside as u64) & !(PAGE_SIZE - 1);
            if inside < region.len() {
                let at = Gpa(GuestAddress(region.start_addr().0).0 + inside);
                let page = self.memory.host_page(at)?;
                return Some((self.memory.number_of(at)?, page.host.cast_const()));
            }
        }
        None
    }
}

impl AsFd for MissingPages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.userfault.as_fd()
    }
}

impl Drop for MissingPages {
    fn drop(&mut self) {
        self.memory.missing.any.store(false, Ordering::SeqCst);
        *self.memory.missing.lock() = PageSet::default();
        if self.memory.huge.load(Ordering::Relaxed) {
            for range in &self.private {
                if let Ok(stretch) = self.memory.stretch(*range) {
                    let _ = stretch.prefer_huge(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
