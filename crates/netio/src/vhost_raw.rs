//! The requests of /dev/vhost-net. Spec: Linux include/uapi/linux/vhost.h, vhost_types.h.

use std::any::Any;
use std::fmt::{self, Debug};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::vhost::{Requests, RingPlace, Signal};

const GET_FEATURES: libc::c_ulong = 0x8008_af00;
const SET_FEATURES: libc::c_ulong = 0x4008_af00;
const SET_OWNER: libc::c_ulong = 0xaf01;
const SET_MEM_TABLE: libc::c_ulong = 0x4008_af03;
const SET_VRING_NUM: libc::c_ulong = 0x4008_af10;
const SET_VRING_ADDR: libc::c_ulong = 0x4028_af11;
const SET_VRING_BASE: libc::c_ulong = 0x4008_af12;
const GET_VRING_BASE: libc::c_ulong = 0xc008_af12;
const SET_VRING_KICK: libc::c_ulong = 0x4008_af20;
const SET_VRING_CALL: libc::c_ulong = 0x4008_af21;
const SET_VRING_ERR: libc::c_ulong = 0x4008_af22;
const NET_SET_BACKEND: libc::c_ulong = 0x4008_af30;

/// In the place of a descriptor: none.
const NONE: libc::c_int = -1;

/// `struct vhost_memory_region`: a piece of the guest's memory, and where this process has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Region {
    guest: u64,
    len: u64,
    host: u64,
    flags: u64,
}

/// Pieces of a table: as many as the kernel takes without being told to take more.
const MAX_REGIONS: usize = 64;

/// `struct vhost_memory`.
#[derive(Debug)]
#[repr(C)]
struct Table {
    count: u32,
    padding: u32,
    regions: [Region; MAX_REGIONS],
}

/// `struct vhost_vring_state` and `struct vhost_vring_file`, which differ in what the second is.
#[repr(C)]
struct OfRing<T> {
    index: u32,
    value: T,
}

/// `struct vhost_vring_addr`.
#[repr(C)]
struct Addresses {
    index: u32,
    flags: u32,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// Which memory of this process is the guest's: all that the kernel may write to on the guest's word.
pub struct MemoryTable {
    regions: Vec<Region>,
    /// Who keeps that memory where it is.
    _keeper: Box<dyn Any + Send>,
}

impl Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryTable").field(&self.regions).finish()
    }
}

impl MemoryTable {
    /// Of pieces, each with its guest-physical address, its length in bytes, and where it begins in this process.
    /// `None` where there are more than the kernel takes.
    ///
    /// # Safety
    /// While `keeper` lives these are mapped, and nothing in them is Rust's to rely on: the guest writes there too.
    pub unsafe fn new(
        pieces: impl IntoIterator<Item = (u64, u64, *mut u8)>,
        keeper: impl Any + Send,
    ) -> Option<MemoryTable> {
        let regions = pieces.into_iter().map(|(guest, len, host)| Region {
            guest,
            len,
            host: host.addr() as u64,
            flags: 0,
        });
        let regions: Vec<Region> = regions.collect();
        (regions.len() <= MAX_REGIONS).then(|| MemoryTable {
            regions,
            _keeper: Box::new(keeper),
        })
    }

    /// Where this process has `len` bytes from a guest-physical address on, which lie in one piece.
    #[must_use]
    pub fn host(&self, guest: u64, len: u64) -> Option<u64> {
        let end = guest.checked_add(len)?;
        let mut regions = self.regions.iter();
        let region = regions.find(|it| guest >= it.guest && end <= it.guest + it.len)?;
        Some(region.host + (guest - region.guest))
    }

    fn table(&self) -> Table {
        let none = Region {
            guest: 0,
            len: 0,
            host: 0,
            flags: 0,
        };
        let mut table = Table {
            count: 0,
            padding: 0,
            regions: [none; MAX_REGIONS],
        };
        for (to, from) in table.regions.iter_mut().zip(&self.regions) {
            *to = *from;
            table.count += 1;
        }
        table
    }
}

/// /dev/vhost-net, open.
#[derive(Debug)]
pub(crate) struct Device(pub(crate) OwnedFd);

impl Device {
    /// A request whose argument is read, and perhaps written, by the kernel.
    fn ask<T>(&self, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
        let argument: *mut T = argument;
        // SAFETY: each request above is used with the structure that its number was made of, which lives here.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) })
    }

    fn set<T>(&self, request: libc::c_ulong, index: u32, value: T) -> io::Result<()> {
        self.ask(request, &mut OfRing { index, value })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

impl Requests for Device {
    fn own(&self) -> io::Result<()> {
        // SAFETY: the request has no argument.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), SET_OWNER) })
    }

    fn features(&self) -> io::Result<u64> {
        let mut features = 0u64;
        self.ask(GET_FEATURES, &mut features)?;
        Ok(features)
    }

    fn set_features(&self, mut features: u64) -> io::Result<()> {
        self.ask(SET_FEATURES, &mut features)
    }

    fn set_memory(&self, memory: &MemoryTable) -> io::Result<()> {
        // What the kernel writes there later is what `MemoryTable::new` was promised to be for that.
        self.ask(SET_MEM_TABLE, &mut memory.table())
    }

    fn set_size(&self, ring: u32, size: u16) -> io::Result<()> {
        self.set(SET_VRING_NUM, ring, u32::from(size))
    }

    fn set_place(&self, ring: u32, place: &RingPlace) -> io::Result<()> {
        let mut addresses = Addresses {
            index: ring,
            flags: 0,
            descriptors: place.descriptors,
            used: place.device,
            available: place.driver,
            log: 0,
        };
        self.ask(SET_VRING_ADDR, &mut addresses)
    }

    fn set_base(&self, ring: u32, next_available: u16) -> io::Result<()> {
        self.set(SET_VRING_BASE, ring, u32::from(next_available))
    }

    fn base(&self, ring: u32) -> io::Result<u16> {
        let mut state = OfRing {
            index: ring,
            value: 0u32,
        };
        self.ask(GET_VRING_BASE, &mut state)?;
        u16::try_from(state.value).map_err(io::Error::other)
    }

    fn set_signal(&self, ring: u32, which: Signal, event: BorrowedFd<'_>) -> io::Result<()> {
        let request = match which {
            Signal::Kick => SET_VRING_KICK,
            Signal::Call => SET_VRING_CALL,
            Signal::Error => SET_VRING_ERR,
        };
        self.set(request, ring, event.as_raw_fd())
    }

    fn set_backend(&self, ring: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.set(
            NET_SET_BACKEND,
            ring,
            tap.map_or(NONE, |tap| tap.as_raw_fd()),
        )
    }
}
