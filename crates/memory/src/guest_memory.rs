//! The guest's RAM: private memory of this process, of which a part may begin as what files hold.

mod from_file;
mod given_back;
mod huge_pages;
mod kinds;
mod layers;
mod mapping_raw;
mod merging;
mod missing;
mod record;
mod record_raw;
mod shared;
mod userfault_raw;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use rustix::mm::ProtFlags;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress,
};

use crate::bell::Bells;
use crate::device_memory::{DeviceMemories, DeviceMemory};
use crate::device_window::DeviceWindow;
use crate::{Bell, Gpa, PAGE_SIZE, PageKind, PageTracker};

pub(crate) use mapping_raw::Stretch;
use missing::Missing;
use shared::Shared;

pub(crate) const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
/// Pages exist from their first touch; the guest's size is a promise of the administrator's.
const PRIVATE_LAZY: i32 = libc::MAP_PRIVATE | libc::MAP_NORESERVE;

pub use layers::{Layer, LayerError, Run};
pub use missing::MissingPages;
pub use record::{DamagedIndex, Recording, index_of, read_index};
pub use userfault_raw::Userfault;

/// RAM as the rust-vmm crates (virtio-queue, linux-loader) know it.
pub type GuestRam = GuestMemoryMmap<PageTracker>;

/// One piece of RAM in the guest-physical address space. Both in bytes, page-aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamRange {
    pub base: Gpa,
    pub len: u64,
}

#[derive(Debug, Error)]
pub enum MemoryError {
    #[error("RAM at {:#x}, {len} bytes, is empty or not page-aligned", base.0)]
    Unaligned { base: Gpa, len: u64 },
    #[error("cannot reserve {len} bytes of guest memory")]
    Reserve { len: u64, source: std::io::Error },
    #[error("cannot map {len} bytes of guest memory at {:#x}", base.0)]
    Map {
        base: Gpa,
        len: u64,
        source: vm_memory::mmap::MmapRegionError,
    },
    #[error("RAM regions overlap or are out of order")]
    Layout {
        source: vm_memory::GuestRegionCollectionError,
    },
}

/// A page of RAM as an engine needs it: the host's address of its first byte, and its tracker.
#[derive(Debug, Clone)]
pub struct HostPage {
    pub host: *mut u8,
    pub tracker: PageTracker,
    /// Index of the page in its region, as the tracker counts.
    pub index: usize,
}

/// Handle to all RAM of one guest. Cloning shares it; the mapping lives as long as any handle.
#[derive(Debug, Clone)]
pub struct GuestMemory {
    ram: GuestRam,
    bells: Arc<Bells>,
    devices: Arc<DeviceMemories>,
    pluggable: Option<RamRange>,
    /// How many mappings of files and of holes in them there are at most; 0 where RAM is no file's.
    pieces: Arc<AtomicUsize>,
    rom: Option<RamRange>,
    shared: Option<Arc<Shared>>,
    /// The host may merge its pages with equal ones.
    mergeable: Arc<AtomicBool>,
    /// The host is asked for huge pages.
    huge: Arc<AtomicBool>,
    missing: Arc<Missing>,
}

/// What a guest's memory consists of.
#[derive(Debug, Default, Clone, Copy)]
pub struct MemoryPlan<'a> {
    /// What it has when it starts, ascending.
    pub ram: &'a [RamRange],
    /// Memory that vCPUs cannot write: firmware.
    pub rom: Option<RamRange>,
    /// RAM that the guest has only once it has plugged it in: above all other.
    pub pluggable: Option<RamRange>,
}

impl GuestMemory {
    /// Maps fresh zeroed RAM. Ranges must be ascending and disjoint.
    ///
    /// # Errors
    /// When a range is empty, unaligned or overlaps, or the host refuses the memory.
    pub fn new(ranges: &[RamRange]) -> Result<GuestMemory, MemoryError> {
        for &RamRange { base, len } in ranges {
            if len == 0 || (base.0 | len) % PAGE_SIZE != 0 || base.checked_add(len).is_none() {
                return Err(MemoryError::Unaligned { base, len });
            }
        }
        let bells = Arc::new(Bells::default());
        let mut regions = Vec::new();
        for &RamRange { base, len } in ranges {
            let map = |source| MemoryError::Map { base, len, source };
            let size = usize::try_from(len).unwrap_or(usize::MAX);
            let tracker = PageTracker::new(base, size, Arc::clone(&bells));
            let mapping = MmapRegionBuilder::new_with_bitmap(size, tracker)
                .with_mmap_prot(READ_WRITE.bits().cast_signed())
                .with_mmap_flags(PRIVATE_LAZY | libc::MAP_ANONYMOUS)
                .build()
                .map_err(map)?;
            let region = GuestRegionMmap::new(mapping, GuestAddress(base.0))
                .ok_or(MemoryError::Unaligned { base, len })?;
            regions.push(region);
        }
        for region in &regions {
            if let Some(stretch) = Stretch::of(region, 0, region.len()) {
                stretch.name();
            }
        }
        let ram =
            GuestRam::from_regions(regions).map_err(|source| MemoryError::Layout { source })?;
        let memory = GuestMemory {
            ram,
            bells,
            devices: Arc::default(),
            pluggable: None,
            pieces: Arc::default(),
            rom: None,
            shared: None,
            mergeable: Arc::default(),
            huge: Arc::default(),
            missing: Arc::default(),
        };
        memory.use_huge_pages();
        Ok(memory)
    }

    /// Likewise, of more than plain RAM.
    ///
    /// # Errors
    /// As [`GuestMemory::new`].
    pub fn planned(plan: &MemoryPlan<'_>) -> Result<GuestMemory, MemoryError> {
        let ram = plan.ram.iter().copied();
        let mut all: Vec<RamRange> = ram.chain(plan.rom).chain(plan.pluggable).collect();
        all.sort_by_key(|range| range.base);
        let mut memory = GuestMemory {
            pluggable: plan.pluggable,
            rom: plan.rom,
            ..GuestMemory::new(&all)?
        };
        if let Some(rom) = plan.rom {
            memory.share(rom)?;
            memory.set_kind(rom, PageKind::Rom);
        }
        Ok(memory)
    }

    /// Zeroed RAM for a device, of `len` bytes, a multiple of the page size. It lies nowhere yet.
    ///
    /// # Errors
    /// When the host refuses the memory.
    pub fn add_device_memory(&self, len: u64) -> Result<DeviceMemory, MemoryError> {
        self.devices.add(len, &self.bells)
    }

    /// A window on a device's RAM, which shows up to `len` bytes of it. It shows none yet.
    ///
    /// # Errors
    /// When the host refuses, or the memory is not as long.
    pub fn add_device_window(
        &self,
        of: &DeviceMemory,
        len: u64,
    ) -> Result<DeviceWindow, MemoryError> {
        self.devices.add_window(of, len, &self.bells)
    }

    /// What devices have.
    #[must_use]
    pub fn device_memories(&self) -> &Arc<DeviceMemories> {
        &self.devices
    }

    /// The RAM that a guest has only once it has plugged it in.
    #[must_use]
    pub fn pluggable(&self) -> Option<RamRange> {
        self.pluggable
    }

    /// The ranges that a guest has from its start, ascending.
    #[must_use]
    pub fn initial_ranges(&self) -> Vec<RamRange> {
        let mut ranges = self.ranges();
        ranges.retain(|range| Some(*range) != self.pluggable);
        ranges
    }

    /// The RAM as rust-vmm crates take it. Writes through it are tracked.
    #[must_use]
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// The memory that firmware lies in, if there is any.
    #[must_use]
    pub fn rom(&self) -> Option<RamRange> {
        self.rom
    }

    /// All RAM ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> Vec<RamRange> {
        let mut ranges = self.mapped_ranges();
        ranges.retain(|range| Some(*range) != self.rom);
        ranges
    }

    /// All that vCPUs find memory at: RAM and ROM, ascending.
    #[must_use]
    pub fn mapped_ranges(&self) -> Vec<RamRange> {
        self.ram
            .iter()
            .map(|region| RamRange {
                base: Gpa(region.start_addr().0),
                len: region.len(),
            })
            .collect()
    }

    /// The page of RAM that holds `gpa`, or `None` where there is no RAM.
    #[must_use]
    pub fn host_page(&self, gpa: Gpa) -> Option<HostPage> {
        let page = gpa.page_base();
        let region = self.ram.find_region(GuestAddress(page.0))?;
        let offset = page.0 - region.start_addr().0;
        let host = region.get_host_address(MemoryRegionAddress(offset)).ok()?;
        let index = usize::try_from(offset / PAGE_SIZE).ok()?;
        Some(HostPage {
            host,
            tracker: region.bitmap().clone(),
            index,
        })
    }

    /// A bell for one more vCPU; it rings for as long as it lives.
    #[must_use]
    pub fn add_bell(&self) -> Arc<Bell> {
        self.bells.add()
    }

    /// Starts or stops logging of written pages.
    pub fn set_dirty_log(&self, on: bool) {
        for region in self.ram.iter() {
            region.bitmap().set_logging(on);
        }
    }

    /// May the host's kernel write to it on a device's behalf? Of what it writes nobody hears, so not while writes
    /// are logged; and not while pages have still to come, for which its thread would wait.
    #[must_use]
    pub fn takes_kernel_writes(&self) -> bool {
        let is_logged = self.ram.iter().any(|region| region.bitmap().is_logging());
        !is_logged && !self.missing.any()
    }

    /// As [`GuestMemory::take_dirty_log`]: whole stretches of pages, ascending.
    #[must_use]
    pub fn take_dirty_ranges(&self) -> Vec<RamRange> {
        let mut ranges: Vec<RamRange> = Vec::new();
        for region in self.ram.iter() {
            let start = region.start_addr().0;
            for page in region.bitmap().take_dirty_pages() {
                let base = Gpa(start + page as u64 * PAGE_SIZE);
                match ranges.last_mut() {
                    Some(range) if base.0 != start && range.base.0 + range.len == base.0 => {
                        range.len += PAGE_SIZE;
                    }
                    _ => ranges.push(RamRange {
                        base,
                        len: PAGE_SIZE,
                    }),
                }
            }
        }
        ranges
    }

    /// Pages written since the log began or was last taken, ascending; clears the log.
    #[must_use]
    pub fn take_dirty_log(&self) -> Vec<Gpa> {
        let mut pages = Vec::new();
        for region in self.ram.iter() {
            for (word_index, word) in region.bitmap().take_dirty().into_iter().enumerate() {
                let mut rest = word;
                while rest != 0 {
                    let page = word_index as u64 * 64 + u64::from(rest.trailing_zeros());
                    pages.push(Gpa(region.start_addr().0 + page * PAGE_SIZE));
                    rest &= rest - 1;
                }
            }
        }
        pages
    }
}

#[cfg(test)]
mod tests;
