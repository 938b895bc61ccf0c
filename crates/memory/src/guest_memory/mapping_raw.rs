//! What a stretch of RAM is mapped to, and which of its pages the host has.
//!
//! RAM is reserved once, when the memory is made; from then on what lies at an address may be replaced,
//! by the kernel at once, and never goes away. So pointers into it are good for as long as a handle lives.

use std::ffi::{CStr, c_void};
use std::io;
use std::os::fd::AsFd;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous};
use vm_memory::{GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress};

use crate::{PAGE_SIZE, PageTracker};

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const IN_PLACE: MapFlags = MapFlags::PRIVATE
    .union(MapFlags::NORESERVE)
    .union(MapFlags::FIXED);
/// Bytes of a huge page.
const HUGE: usize = 2 << 20;
/// Pages that are asked about at once.
const ASKED: usize = 4096;

/// A stretch of one region: whole pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    host: *mut c_void,
    len: usize,
}

impl Stretch {
    /// `len` bytes at `offset` of `region`; `None` where they are not all in it, or no whole pages.
    pub(crate) fn of(
        region: &GuestRegionMmap<PageTracker>,
        offset: u64,
        len: u64,
    ) -> Option<Stretch> {
        let end = offset.checked_add(len)?;
        if len == 0 || end > region.len() || !(offset | len).is_multiple_of(PAGE_SIZE) {
            return None;
        }
        let host = region.get_host_address(MemoryRegionAddress(offset)).ok()?;
        let len = usize::try_from(len).ok()?;
        Some(Stretch {
            host: host.cast(),
            len,
        })
    }

    /// Says in /proc/PID/smaps what it is, where the kernel has room for that (`CONFIG_ANON_VMA_NAME`).
    pub(super) fn name(self) {
        const NAME: &CStr = c"guest-ram";
        // SAFETY: it names a mapping of ours, by words that stay.
        unsafe {
            libc::prctl(
                libc::PR_SET_VMA,
                libc::PR_SET_VMA_ANON_NAME,
                self.host,
                self.len,
                NAME.as_ptr(),
            );
        }
    }

    /// The host may have pages in common with others that hold the same, until somebody writes.
    /// Spec: Linux Documentation/admin-guide/mm/ksm.rst.
    pub(super) fn merge(self) -> io::Result<()> {
        // SAFETY: what the pages hold stays as it is.
        unsafe { madvise(self.host, self.len, Advice::LinuxMergeable) }?;
        Ok(())
    }

    /// Does it begin and end where huge pages of the host's do?
    pub(super) fn is_of_huge_pages(self) -> bool {
        (self.host as usize | self.len).is_multiple_of(HUGE)
    }

    /// Says whether its pages are to be huge ones from now on.
    pub(super) fn prefer_huge(self, huge: bool) -> io::Result<()> {
        let advice = if huge {
            Advice::LinuxHugepage
        } else {
            Advice::LinuxNoHugepage
        };
        // SAFETY: what the pages hold stays as it is.
        unsafe { madvise(self.host, self.len, advice) }?;
        Ok(())
    }

    /// Its first byte, and how many there are.
    pub(super) fn bytes(self) -> (*const u8, usize) {
        (self.host.cast_const().cast(), self.len)
    }

    /// The pages are the host's again; where no file is mapped they read as zeros afterwards.
    pub(super) fn give_back(self) -> io::Result<()> {
        // SAFETY: a stretch lies inside of RAM, whose content anybody may change at any time.
        unsafe { madvise(self.host, self.len, Advice::LinuxDontNeed) }?;
        Ok(())
    }

    /// Fresh zeros, whatever was there.
    pub(super) fn map_zeros(self) -> io::Result<()> {
        // SAFETY: a stretch lies inside of RAM, which stays mapped; its content may change at any time.
        unsafe { mmap_anonymous(self.host, self.len, READ_WRITE, IN_PLACE) }?;
        self.name();
        Ok(())
    }

    /// What `file` has at `at`, until somebody writes here, which the file does not see.
    pub(super) fn map_file(self, file: impl AsFd, at: u64) -> io::Result<()> {
        // SAFETY: as in `map_zeros`. A file that is cut short later ends this process, as its owner would.
        unsafe { mmap(self.host, self.len, READ_WRITE, IN_PLACE, file, at) }?;
        Ok(())
    }

    /// What `file`, which is memory of this process, has at `at`: a write here is a write there.
    pub(crate) fn map_shared(self, file: impl AsFd, at: u64) -> io::Result<()> {
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: as in `map_zeros`; guest memory is only ever reached by volatile accesses.
        unsafe { mmap(self.host, self.len, READ_WRITE, flags, file, at) }?;
        Ok(())
    }

    /// How many bytes the host has in memory now.
    pub(super) fn resident(self) -> u64 {
        let page = usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX);
        let mut pages = 0;
        for from in (0..self.len).step_by(ASKED * page) {
            let len = (self.len - from).min(ASKED * page);
            let mut found = [0u8; ASKED];
            // SAFETY: the range is mapped, and there is a byte in `found` for each of its pages.
            let asked = unsafe { libc::mincore(self.host.byte_add(from), len, found.as_mut_ptr()) };
            if asked == 0 {
                pages += found.iter().filter(|state| **state & 1 != 0).count() as u64;
            }
        }
        pages * PAGE_SIZE
    }
}
