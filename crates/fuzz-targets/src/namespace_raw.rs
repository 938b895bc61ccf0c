//! A network of this thread's own, so that nothing that is fuzzed reaches anybody.

use std::cell::OnceCell;
use std::process::Command;

use rustix::thread::{UnshareFlags, unshare_unsafe};

thread_local! {
    static ALONE: OnceCell<bool> = const { OnceCell::new() };
}

/// Moves this thread, once, into a network where there is only loopback. False where the host does
/// not allow that.
pub(crate) fn alone() -> bool {
    ALONE.with(|alone| {
        *alone.get_or_init(|| {
            // SAFETY: file descriptors stay shared; only where new sockets live changes.
            let moved = unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok();
            let up = ["link", "set", "lo", "up"];
            moved
                && Command::new("ip")
                    .args(up)
                    .status()
                    .is_ok_and(|it| it.success())
        })
    })
}
