//! The kernel's userfaultfd: whoever touches a page of this process that is not there waits, until a thread of
//! the process has put it there.
//!
//! Those who wait are also KVM and system calls, for which the kernel wants a right: `CAP_SYS_PTRACE`,
//! /dev/userfaultfd, or that its administrator gives it to all (`vm.unprivileged_userfaultfd`).
//!
//! Spec: userfaultfd(2), `ioctl_userfaultfd(2)`, Linux `Documentation/admin-guide/mm/userfaultfd.rst` and
//! `include/uapi/linux/userfaultfd.h`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{PAGE_SHIFT, PAGE_SIZE};

const PAGE: usize = 1 << PAGE_SHIFT;
const DEVICE: &str = "/dev/userfaultfd";
const VERSION: u64 = 0xaa;
/// `UFFD_EVENT_PAGEFAULT`, and how long a message is; where in it the address is.
const FAULT: u8 = 0x12;
const MESSAGE: usize = 32;
const ADDRESS: std::ops::Range<usize> = 16..24;
/// Messages that are taken at once.
const AT_ONCE: usize = 32;
/// `UFFDIO_REGISTER_MODE_MISSING`.
const MISSING: u64 = 1;

/// A request's number: who writes what it is about, which it is, and how long that is.
const fn request(way: u64, number: u64, len: usize) -> u64 {
    way << 30 | (len as u64) << 16 | VERSION << 8 | number
}

const NEW: u64 = request(0, 0, 0);
const REGISTER: u64 = request(3, 0, size_of::<Registered>());
const WAKE: u64 = request(2, 2, size_of::<Place>());
const COPY: u64 = request(3, 3, size_of::<Copied>());
const ZERO: u64 = request(3, 4, size_of::<Zeroed>());
const API: u64 = request(3, 0x3f, size_of::<Api>());

#[repr(C)]
struct Api {
    version: u64,
    features: u64,
    requests: u64,
}

#[repr(C)]
struct Place {
    start: u64,
    len: u64,
}

#[repr(C)]
struct Registered {
    place: Place,
    mode: u64,
    requests: u64,
}

#[repr(C)]
struct Copied {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    done: i64,
}

#[repr(C)]
struct Zeroed {
    place: Place,
    mode: u64,
    done: i64,
}

/// One that is open. Once it is closed nobody waits any more: what is not there is zeros then.
#[derive(Debug)]
pub struct Userfault(OwnedFd);

impl Userfault {
    /// # Errors
    /// When this process has no right to it, or the kernel has none.
    pub fn open() -> io::Result<Userfault> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let opened = match File::open(DEVICE) {
            // SAFETY: a request without memory.
            Ok(device) => unsafe { libc::ioctl(device.as_raw_fd(), NEW, flags) },
            // SAFETY: a system call on a plain value.
            Err(_) => unsafe {
                RawFd::try_from(libc::syscall(libc::SYS_userfaultfd, flags)).unwrap_or(-1)
            },
        };
        if opened < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel has just made for us.
        let userfault = Userfault(unsafe { OwnedFd::from_raw_fd(opened) });
        let mut api = Api {
            version: VERSION,
            features: 0,
            requests: 0,
        };
        userfault.ask(API, &mut api)?;
        Ok(userfault)
    }

    /// `about` is what the request is about, of the length that its number says.
    fn ask<T>(&self, request: u64, about: &mut T) -> io::Result<()> {
        // SAFETY: the kernel reads and writes no more than `about` has, which is there and ours.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), request, std::ptr::from_mut(about)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// From now on whoever touches what is not there waits. All of it is private memory without a file.
    pub(super) fn register(&self, host: *const u8, len: usize) -> io::Result<()> {
        let place = place(host, len);
        self.ask(
            REGISTER,
            &mut Registered {
                place,
                mode: MISSING,
                requests: 0,
            },
        )
    }

    /// Puts a page at `host`, which is registered. One that is there stays as it is.
    pub(super) fn put(&self, host: *const u8, page: &[u8; PAGE]) -> io::Result<()> {
        self.put_by(host, || {
            let mut copied = Copied {
                to: host as u64,
                from: page.as_ptr() as u64,
                len: PAGE_SIZE,
                mode: 0,
                done: 0,
            };
            self.ask(COPY, &mut copied)
        })
    }

    /// Likewise, one of zeros.
    pub(super) fn put_zeros(&self, host: *const u8) -> io::Result<()> {
        self.put_by(host, || {
            let mut zeroed = Zeroed {
                place: place(host, PAGE),
                mode: 0,
                done: 0,
            };
            self.ask(ZERO, &mut zeroed)
        })
    }

    fn put_by(&self, host: *const u8, put: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match put().map_err(|error| error.raw_os_error().unwrap_or(0)) {
                Ok(()) => return Ok(()),
                // It is there, or fresh memory was mapped in its place.
                Err(libc::EEXIST | libc::ENOENT) => return self.wake(host),
                // Somebody changes the process's mappings just now.
                Err(libc::EAGAIN) => std::thread::yield_now(),
                Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Who waits for the page at `host` looks again.
    pub(super) fn wake(&self, host: *const u8) -> io::Result<()> {
        self.ask(WAKE, &mut place(host, PAGE))
    }

    /// Addresses for which somebody has begun to wait, as integers; none where nobody has.
    pub(super) fn faults(&self) -> io::Result<Vec<usize>> {
        let mut messages = [0; AT_ONCE * MESSAGE];
        let read = match rustix::io::read(&self.0, &mut messages) {
            Ok(read) => read,
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut faults = Vec::new();
        for message in messages[..read].chunks_exact(MESSAGE) {
            let mut address = [0; 8];
            address.copy_from_slice(&message[ADDRESS]);
            if message[0] == FAULT {
                faults.push(usize::from_ne_bytes(address));
            }
        }
        Ok(faults)
    }
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn place(host: *const u8, len: usize) -> Place {
    Place {
        start: host as u64,
        len: len as u64,
    }
}
