//! Descriptors by number, whoever owns them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::{DupFlags, Errno, dup3};

/// Calls `look` with a number that may be anything's.
pub(crate) fn with<R>(fd: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
    // SAFETY: it is no -1, and used for calls that answer EBADF where nothing is open by it. There is
    // one thread, so it is not closed meanwhile.
    look(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Has the number `old` mean what `new` does; for whoever owns it, nothing else changes.
pub(crate) fn replace(new: &OwnedFd, old: BorrowedFd<'_>, close: bool) -> Result<(), Errno> {
    // SAFETY: `dup3` closes what it was and opens it again, as one. That it is owned elsewhere, and
    // not by what we have here, is why that is given up below rather than closed.
    let mut target = unsafe { OwnedFd::from_raw_fd(old.as_raw_fd()) };
    let flags = if close {
        DupFlags::CLOEXEC
    } else {
        DupFlags::empty()
    };
    let done = dup3(new.as_fd(), &mut target, flags);
    let _ = target.into_raw_fd();
    done
}
