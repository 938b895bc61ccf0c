//! Code that an engine makes, told to whoever names it for a profiler.

use std::fmt::Debug;

use memory::Gla;

pub trait CodeListener: Send + Sync + Debug {
    /// Guest code from `guest` on became `len` bytes of host code at the host's address `host`. Without
    /// `guest`, it is code that all others share: ways in and out.
    fn made(&self, guest: Option<Gla>, host: u64, len: usize);
}
