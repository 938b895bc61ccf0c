//! Many elements of a string instruction at once, where both sides are plain RAM inside one page.

use crate::cpu::Cpu;
use crate::mmu::access_raw::{copy_forward, fill as fill_host};
use crate::word::Word;

/// Copies `count` elements; false when it must be done one by one.
pub(crate) fn copy<T: Word>(cpu: &Cpu, to: u64, from: u64, count: u64) -> bool {
    let bytes = count * u64::from(T::BYTES);
    let hosts = (
        cpu.host_for_write(to, bytes),
        cpu.host_for_read(from, bytes),
    );
    let (Some(to), Some(from)) = hosts else {
        return false;
    };
    // How far the destination lies above the source; huge where it lies below.
    let above = to.wrapping_sub(from);
    if above >= bytes {
        // Nothing is read after it was written, so the order of bytes does not show. Not REP MOVSB:
        // it takes a byte at a time where the low bits of both addresses are close.
        // SAFETY: both ranges are RAM inside one page, as the TLB just said.
        unsafe {
            libc::memmove(
                to as *mut libc::c_void,
                from as *const libc::c_void,
                bytes as usize,
            );
        }
        return true;
    }
    // Bytes copied in order equal elements copied in order unless an element overlaps its own copy.
    if above != 0 && above < u64::from(T::BYTES) {
        return false;
    }
    // SAFETY: as above.
    unsafe { copy_forward(to, from, bytes as usize) };
    true
}

/// Fills `count` elements; false when it must be done one by one.
pub(crate) fn fill<T: Word>(cpu: &Cpu, to: u64, value: T, count: u64) -> bool {
    let Some(to) = cpu.host_for_write(to, count * u64::from(T::BYTES)) else {
        return false;
    };
    // SAFETY: the range is plain RAM inside one page, as the TLB just said.
    unsafe { fill_host(to, value, count as usize) };
    true
}
