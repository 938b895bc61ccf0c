//! Memory at addresses that other processes have free as well.
//!
//! Processes that were forked from one have their libraries at the same addresses, and each its own memory where
//! the kernel placed it. What refers to itself by address can only go from one to another when it can have its
//! place there too. So such memory lies at random, far from all that kernels place.

use std::ffi::c_void;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::rand::{GetRandomFlags, getrandom};

/// Multiples of this are tried.
const STEP: u64 = 2 << 20;
/// Between programs and sanitizers' shadows below, and heaps and libraries above.
const FIRST: u64 = 0x2000_0000_0000;
const END: u64 = 0x5000_0000_0000;
const TRIES: u32 = 16;

/// A range of so many addresses, where nothing can be accessed. `None` where the host gives none.
pub(crate) fn reserve_apart(len: usize) -> Option<*mut c_void> {
    (0..TRIES).find_map(|_| {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty()).ok()?;
        let at = FIRST + u64::from_le_bytes(random) % ((END - FIRST) / STEP) * STEP;
        reserve_at(at, len)
    })
}

/// The same at `at`. `None` where something is there, or that is no such place.
pub(crate) fn reserve_at(at: u64, len: usize) -> Option<*mut c_void> {
    let fits = len < (END - FIRST) as usize && (FIRST..END).contains(&at);
    (fits && at.is_multiple_of(STEP)).then_some(())?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: a new mapping where there is none disturbs nothing.
    let found = unsafe { mmap_anonymous(at as *mut _, len, ProtFlags::empty(), flags) }.ok()?;
    if found as u64 == at {
        return Some(found);
    }
    // A kernel before 4.17 takes the address for a hint.
    // SAFETY: the mapping was just made, and nobody knows it.
    let _ = unsafe { rustix::mm::munmap(found, len) };
    None
}

#[cfg(test)]
mod tests {
    use super::{reserve_apart, reserve_at};

    #[test]
    fn nothing_is_replaced() {
        let place = reserve_apart(1 << 20).expect("addresses") as u64;
        assert!(reserve_at(place, 1 << 20).is_none());
        assert!(reserve_at(place + 4096, 4096).is_none());
        assert!(reserve_at(0x1000, 4096).is_none());
    }
}
