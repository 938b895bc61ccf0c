//! From a file descriptor's number, which is all that Python has, to one that we own.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A duplicate of `fd`, closed on exec.
///
/// # Errors
/// When `fd` is not open.
pub(crate) fn duplicate(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(9)); // EBADF
    }
    // SAFETY: not -1; the borrow ends with this statement, and the kernel refuses a number that is
    // not open. We never close the caller's descriptor.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}
