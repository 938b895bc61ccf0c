//! What the kernel says of mounts by structures that nobody wraps.
//!
//! Spec: `mount_setattr(2)`.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

const AT_EMPTY_PATH: libc::c_uint = 0x1000;
const AT_RECURSIVE: libc::c_uint = 0x8000;

pub(crate) const READ_ONLY: u64 = 0x1;
pub(crate) const NO_SUID: u64 = 0x2;
pub(crate) const NO_DEVICES: u64 = 0x4;
pub(crate) const NO_PROGRAMS: u64 = 0x8;
const OTHER_OWNERS: u64 = 0x0010_0000;

/// `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    owners: u64,
}

/// Adds `set` to what `mount` is, and to those below it where it is `recursive`. Files of it belong to
/// whom the user namespace `owners` makes of their owners.
pub(crate) fn change(
    mount: BorrowedFd<'_>,
    set: u64,
    owners: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> Result<(), Errno> {
    let attributes = Attributes {
        set: set | if owners.is_some() { OTHER_OWNERS } else { 0 },
        clear: 0,
        propagation: 0,
        owners: owners.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let nothing: &CStr = c"";
    // SAFETY: the string and the structure, whose length is told, outlive the call, which reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            nothing.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        let code = std::io::Error::last_os_error().raw_os_error();
        Err(Errno::from_raw_os_error(code.unwrap_or(libc::EIO)))
    }
}
