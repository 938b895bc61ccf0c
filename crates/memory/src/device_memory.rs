//! RAM that a device has, such as a frame buffer: the guest reaches it as it reaches its own, where the
//! device's address register says.
//!
//! Problem: a screen is written in bursts of megabytes, far too many for an exit each; and where it
//! lies the guest decides, at any time. Choice: its pages are mapped and tracked as those of guest RAM
//! are, so that engines need nothing new but to learn where they lie, when that changes: each vCPU's
//! [`Bell`](crate::Bell) says so, and engines that keep maps elsewhere are told by [`Placement`]. It is
//! no part of [`GuestMemory::ranges`](crate::GuestMemory::ranges): what it holds is saved by its device,
//! and its log of written pages is the device's own, whoever else logs what the guest's RAM holds.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::MapFlags;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};

use crate::bell::Bells;
use crate::device_window::DeviceWindow;
use crate::guest_memory::{READ_WRITE, Stretch};
use crate::{Gpa, HostPage, Lines, MemoryError, PAGE_SIZE, PageTracker, RamRange};

/// Pages exist from their first touch.
const SHARED_LAZY: MapFlags = MapFlags::SHARED.union(MapFlags::NORESERVE);
/// Where there is none.
const NOWHERE: u64 = u64::MAX;

/// An engine that keeps a map of guest memory, or a log of writes to it, outside of this process.
pub trait Placement: Send + Sync + Debug {
    /// Device memory `number`, counted as [`DeviceMemories::all`] lists them, lies elsewhere now.
    fn placed(&self, number: usize, memory: &DeviceMemory);
    /// Moves what the engine's own log holds of writes to it into its tracker.
    fn sync_dirty(&self, number: usize, memory: &DeviceMemory);
}

/// All device memory of one guest, and who wants to hear of it.
#[derive(Debug, Default)]
pub struct DeviceMemories {
    all: Mutex<Vec<DeviceMemory>>,
    listeners: Mutex<Vec<Arc<dyn Placement>>>,
}

impl DeviceMemories {
    #[must_use]
    pub fn all(&self) -> Vec<DeviceMemory> {
        lock(&self.all).clone()
    }

    /// Where device memory lies now.
    #[must_use]
    pub fn placed(&self) -> Vec<(RamRange, DeviceMemory)> {
        let all = self.all().into_iter();
        all.filter_map(|memory| Some((memory.range()?, memory)))
            .collect()
    }

    /// `listener` hears of every change from now on.
    pub fn listen(&self, listener: Arc<dyn Placement>) {
        lock(&self.listeners).push(listener);
    }

    pub(crate) fn add(
        self: &Arc<Self>,
        len: u64,
        bells: &Arc<Bells>,
    ) -> Result<DeviceMemory, MemoryError> {
        Ok(self.add_region(region(len, bells)?, bells))
    }

    /// A window on `of`, which shows up to `len` bytes of it.
    pub(crate) fn add_window(
        self: &Arc<Self>,
        of: &DeviceMemory,
        len: u64,
        bells: &Arc<Bells>,
    ) -> Result<DeviceWindow, MemoryError> {
        let base = Gpa(0);
        let file = of.inner.region.file_offset().cloned();
        let file = file.filter(|_| len <= of.size());
        let file = file.ok_or(MemoryError::Unaligned { base, len })?;
        let region = mapped(file, len, bells)?;
        Ok(DeviceWindow::new(
            self.add_region(region, bells),
            of.clone(),
        ))
    }

    fn add_region(
        self: &Arc<Self>,
        region: GuestRegionMmap<PageTracker>,
        bells: &Arc<Bells>,
    ) -> DeviceMemory {
        let mut all = lock(&self.all);
        let memory = DeviceMemory {
            inner: Arc::new(Inner {
                number: all.len(),
                len: AtomicU64::new(region.len()),
                region,
                place: AtomicU64::new(NOWHERE),
                logging: AtomicBool::new(false),
                bells: Arc::clone(bells),
                memories: Arc::downgrade(self),
            }),
        };
        all.push(memory.clone());
        memory
    }

    fn tell(&self, tell: impl Fn(&dyn Placement)) {
        let listeners = lock(&self.listeners).clone();
        for listener in listeners {
            tell(&*listener);
        }
    }
}

fn region(len: u64, bells: &Arc<Bells>) -> Result<GuestRegionMmap<PageTracker>, MemoryError> {
    let base = Gpa(0);
    if len == 0 || !len.is_multiple_of(PAGE_SIZE) {
        return Err(MemoryError::Unaligned { base, len });
    }
    let reserve = |source: io::Error| MemoryError::Reserve { len, source };
    let fd = memfd_create("device-memory", MemfdFlags::CLOEXEC).map_err(|e| reserve(e.into()))?;
    ftruncate(&fd, len).map_err(|e| reserve(e.into()))?;
    mapped(FileOffset::new(fd.into(), 0), len, bells)
}

fn mapped(
    file: FileOffset,
    len: u64,
    bells: &Arc<Bells>,
) -> Result<GuestRegionMmap<PageTracker>, MemoryError> {
    let base = Gpa(0);
    if len == 0 || !len.is_multiple_of(PAGE_SIZE) {
        return Err(MemoryError::Unaligned { base, len });
    }
    let size = usize::try_from(len).unwrap_or(usize::MAX);
    let mapping =
        MmapRegionBuilder::new_with_bitmap(size, PageTracker::new(base, size, Arc::clone(bells)))
            .with_mmap_prot(READ_WRITE.bits().cast_signed())
            .with_mmap_flags(SHARED_LAZY.bits().cast_signed())
            .with_file_offset(file)
            .build()
            .map_err(|source| MemoryError::Map { base, len, source })?;
    GuestRegionMmap::new(mapping, GuestAddress(0)).ok_or(MemoryError::Unaligned { base, len })
}

#[derive(Debug)]
struct Inner {
    number: usize,
    region: GuestRegionMmap<PageTracker>,
    /// As much of it as the guest can reach.
    len: AtomicU64,
    place: AtomicU64,
    logging: AtomicBool,
    bells: Arc<Bells>,
    memories: std::sync::Weak<DeviceMemories>,
}

/// Handle to one device's RAM. Cloning shares it.
#[derive(Debug, Clone)]
pub struct DeviceMemory {
    inner: Arc<Inner>,
}

impl DeviceMemory {
    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.region.len()
    }

    /// Where it lies, if the guest can reach it.
    #[must_use]
    pub fn range(&self) -> Option<RamRange> {
        let place = self.inner.place.load(Ordering::Acquire);
        (place != NOWHERE).then_some(RamRange {
            base: Gpa(place),
            len: self.inner.len.load(Ordering::Acquire),
        })
    }

    /// Puts it there, page-aligned, or takes it away. vCPUs that run see it soon, the one whose access
    /// led here at its next instruction.
    pub fn place(&self, at: Option<Gpa>) {
        let place = at.map_or(NOWHERE, |at| at.0);
        if self.inner.place.swap(place, Ordering::AcqRel) == place {
            return;
        }
        let tracker = self.inner.region.bitmap();
        // Code that was decoded from it is known by its old address.
        tracker.kill_code();
        tracker.move_to(Gpa(place));
        self.inner.bells.moved();
        self.tell(|listener| listener.placed(self.inner.number, self));
    }

    /// As [`crate::GuestMemory::host_page`], of its first page.
    #[must_use]
    pub fn first_page(&self) -> Option<HostPage> {
        let host = self
            .inner
            .region
            .get_host_address(MemoryRegionAddress(0))
            .ok()?;
        Some(HostPage {
            host,
            tracker: self.inner.region.bitmap().clone(),
            index: 0,
        })
    }

    /// Reads from `offset` on; zeros where it has ended.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        let read = self.inner.region.read(bytes, MemoryRegionAddress(offset));
        let read = read.unwrap_or(0).min(bytes.len());
        bytes[read..].fill(0);
    }

    /// Writes from `offset` on, as far as there is some.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        // What does not fit is nowhere.
        let _ = self.inner.region.write(bytes, MemoryRegionAddress(offset));
    }

    /// Pages written since this was called last, by number, ascending: the first time, all.
    #[must_use]
    pub fn take_dirty(&self) -> Vec<usize> {
        let tracker = self.inner.region.bitmap();
        if !self.inner.logging.swap(true, Ordering::AcqRel) {
            tracker.set_logging(true);
            self.tell(|listener| listener.sync_dirty(self.inner.number, self));
            let pages = usize::try_from(self.size() / PAGE_SIZE).unwrap_or(usize::MAX);
            return (0..pages).collect();
        }
        self.tell(|listener| listener.sync_dirty(self.inner.number, self));
        tracker.take_dirty_pages()
    }

    /// Pages that were written otherwise than through here, and code in them is dead.
    pub(crate) fn note_written(&self, pages: std::ops::Range<u64>) {
        for page in pages {
            let page = usize::try_from(page).unwrap_or(usize::MAX);
            self.inner.region.bitmap().note_write(page, Lines::ALL);
        }
    }

    /// It shows `len` bytes of its file from `offset` on, which it had room for when it was made. It lies
    /// nowhere, or shows as many already.
    pub(crate) fn map_part(&self, offset: u64, len: u64) -> io::Result<()> {
        let outside = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let region = &self.inner.region;
        let file = region.file_offset().ok_or_else(outside)?;
        let stretch = Stretch::of(region, 0, len).ok_or_else(outside)?;
        stretch.map_shared(file.file(), offset)?;
        self.inner.len.store(len, Ordering::Release);
        Ok(())
    }

    fn tell(&self, tell: impl Fn(&dyn Placement)) {
        if let Some(memories) = self.inner.memories.upgrade() {
            memories.tell(tell);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
