//! Copies between guest RAM and our own buffers.

use crate::mmu::access_raw::copy_forward;

/// Copies from guest RAM at `host`, an address that `Cpu::host_for_read` gave for that length.
pub(super) fn copy_in(host: u64, into: &mut [u8]) {
    // SAFETY: the address is of RAM for the whole length, by the caller's word; RAM may race, which
    // `rep movsb` sees as hardware would.
    unsafe { copy_forward(into.as_mut_ptr() as u64, host, into.len()) };
}

/// Copies to guest RAM at `host`, an address that `Cpu::host_for_write` gave for that length.
pub(super) fn copy_out(host: u64, from: &[u8]) {
    // SAFETY: as in `copy_in`.
    unsafe { copy_forward(host, from.as_ptr() as u64, from.len()) };
}
