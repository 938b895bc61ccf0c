//! The one place that changes what a piece of a region's mapping is backed by.

use std::fs::File;
use std::io;

use rustix::mm::{MapFlags, mmap};

use super::{READ_WRITE, SHARED_LAZY};

/// Maps `len` bytes at `offset` of `file` over what is at `host`.
pub(super) fn remap(host: *mut u8, len: usize, file: &File, offset: u64) -> io::Result<()> {
    let flags = SHARED_LAZY | MapFlags::FIXED;
    // SAFETY: the caller found `host` to begin `len` bytes of a region's mapping, which stays mapped as
    // readable and writable memory of the same length; guest memory is only ever reached by volatile
    // accesses, so that nobody relies on what it held.
    unsafe { mmap(host.cast(), len, READ_WRITE, flags, file, offset) }?;
    Ok(())
}
