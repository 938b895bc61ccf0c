//! A process with one thread: the harness has several.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `play` in a fork of this process; whether it did not panic.
pub(super) fn succeeds(play: impl FnOnce()) -> bool {
    // SAFETY: the C library's allocator works in a fork, and `play` uses nothing else of other threads:
    // the harness, which has them, only waits for this one.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    if pid == 0 {
        let failed = catch_unwind(AssertUnwindSafe(play)).is_err();
        // SAFETY: ends the process, without what the harness does at its end.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    let mut status = 0;
    // SAFETY: `status` is there to be written to, and the process is our own child.
    let found = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    found == pid && status == 0
}
