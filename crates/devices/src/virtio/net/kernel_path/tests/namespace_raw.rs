//! A network namespace for the thread of a test.

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// False where the host does not allow it. The thread must end with its test.
pub(super) fn enter() -> bool {
    // SAFETY: file descriptors stay shared; only where new sockets live changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok()
}
