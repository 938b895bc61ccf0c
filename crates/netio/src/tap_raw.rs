//! The requests of /dev/net/tun. Spec: Linux include/uapi/linux/if_tun.h.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::Offloads;

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETQUEUE: libc::c_ulong = 0x4004_54d9;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const F_CSUM: libc::c_ulong = 0x01;
const F_TSO4: libc::c_ulong = 0x02;
const F_TSO6: libc::c_ulong = 0x04;
const F_TSO_ECN: libc::c_ulong = 0x08;
const IFF_TAP: libc::c_short = 0x0002;
const IFF_MULTI_QUEUE: libc::c_short = 0x0100;
const IFF_ATTACH_QUEUE: libc::c_short = 0x0200;
const IFF_DETACH_QUEUE: libc::c_short = 0x0400;
const IFF_NO_PI: libc::c_short = 0x1000;
const IFF_VNET_HDR: libc::c_short = 0x4000;

/// Of an attached interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags(libc::c_short);

const TAP: libc::c_short = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

impl Flags {
    pub(crate) fn wanted(several_queues: bool) -> Flags {
        Flags(TAP | if several_queues { IFF_MULTI_QUEUE } else { 0 })
    }

    pub(crate) fn fit(self) -> bool {
        self.0 & TAP == TAP
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// `name` is shorter than the structure's array.
pub(crate) fn attach(tap: &OwnedFd, name: &str, flags: Flags) -> io::Result<()> {
    let mut request = empty();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = flags.0;
    // SAFETY: the kernel reads and writes a structure of this type, which lives here.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, &raw mut request) })
}

/// Whether the interface sends frames by this queue, one of several.
pub(crate) fn switch_queue(tap: &OwnedFd, on: bool) -> io::Result<()> {
    let mut request = empty();
    request.ifr_ifru.ifru_flags = if on {
        IFF_ATTACH_QUEUE
    } else {
        IFF_DETACH_QUEUE
    };
    // SAFETY: the kernel reads a structure of this type, which lives here.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETQUEUE, &raw const request) })
}

pub(crate) fn flags(tap: &OwnedFd) -> io::Result<Flags> {
    let mut request = empty();
    // SAFETY: as in `attach`; on success the kernel has filled in the flags, and before they are 0.
    unsafe {
        check(libc::ioctl(tap.as_raw_fd(), TUNGETIFF, &raw mut request))?;
        Ok(Flags(request.ifr_ifru.ifru_flags))
    }
}

pub(crate) fn set_header_size(tap: &OwnedFd, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the kernel reads one int, which lives here.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETVNETHDRSZ, &raw const size) })
}

/// What the kernel may leave undone in frames that we read.
pub(crate) fn set_offloads(tap: &OwnedFd, offloads: Offloads) -> io::Result<()> {
    let mut flags = 0;
    for (on, flag) in [
        (offloads.checksum, F_CSUM),
        (offloads.tso4, F_TSO4),
        (offloads.tso6, F_TSO6),
        (offloads.ecn && (offloads.tso4 || offloads.tso6), F_TSO_ECN),
    ] {
        flags |= if on { flag } else { 0 };
    }
    // SAFETY: the request takes its argument by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETOFFLOAD, flags) })
}

fn empty() -> libc::ifreq {
    // SAFETY: plain data, for which zero is valid.
    unsafe { std::mem::zeroed() }
}
