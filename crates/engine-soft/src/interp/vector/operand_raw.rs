//! Copies between guest RAM and our own buffers.

use std::arch::asm;

use crate::mmu::access_raw::{copy_forward, load, store};

/// Copies from guest RAM at `host`, an address that `Cpu::host_for_read` gave for that length.
pub(super) fn copy_in(host: u64, into: &mut [u8]) {
    // SAFETY: the address is of RAM for the whole length, by the caller's word.
    unsafe { copy(into.as_mut_ptr() as u64, host, into.len()) };
}

/// Copies to guest RAM at `host`, an address that `Cpu::host_for_write` gave for that length.
pub(super) fn copy_out(host: u64, from: &[u8]) {
    // SAFETY: as in `copy_in`.
    unsafe { copy(host, from.as_ptr() as u64, from.len()) };
}

/// Copies in pieces of 16 and 8 bytes, and what is left by `rep movsb`, which takes as long for a few bytes as
/// for a hundred.
///
/// # Safety
/// Both ranges are valid, one of them ours alone. The other is RAM and may race, which single instructions
/// see as hardware would.
unsafe fn copy(to: u64, from: u64, len: usize) {
    let mut done = len & !15;
    for at in (0..done as u64).step_by(16) {
        // SAFETY: inside both ranges.
        unsafe {
            asm!("movdqu {x}, [{from}]", "movdqu [{to}], {x}", x = out(xmm_reg) _, from = in(reg) from + at,
                to = in(reg) to + at, options(nostack, preserves_flags));
        }
    }
    if len - done >= 8 {
        let at = done as u64;
        // SAFETY: likewise.
        unsafe { store(to + at, load::<u64>(from + at)) };
        done += 8;
    }
    if len != done {
        let at = done as u64;
        // SAFETY: likewise.
        unsafe { copy_forward(to + at, from + at, len - done) };
    }
}
