//! Where a device's offsets lie among the ports of a PC, and accesses wider than a byte.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A run of ports and the device offset of its first one. A device with ports in several places
/// has one of these for each; its offsets leave gaps, so that a wide access never strays from one
/// run into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub count: u16,
    pub offset: u64,
}

/// Reads an 8-bit device one byte at a time, as the ISA bus splits a wide access.
pub(crate) fn read_bytes(offset: u64, size: u8, mut byte: impl FnMut(u64) -> u8) -> u64 {
    (0..u64::from(size.min(8))).fold(0, |value, index| {
        value | u64::from(byte(offset.saturating_add(index))) << (8 * index)
    })
}

/// Writes an 8-bit device one byte at a time.
pub(crate) fn write_bytes(offset: u64, size: u8, value: u64, mut byte: impl FnMut(u64, u8)) {
    for (index, part) in (0..u64::from(size.min(8))).zip(value.to_le_bytes()) {
        byte(offset.saturating_add(index), part);
    }
}

/// All-ones of `size` bytes: what a read of nothing answers.
pub(crate) fn all_ones(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
}

/// Locks, also after another thread died holding the lock: device state is plain values, and a
/// guest must not lose its machine to one failed thread.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
