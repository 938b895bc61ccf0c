//! Many elements of a string instruction at once, where both sides are plain RAM inside one page.

use crate::cpu::Cpu;
use crate::interp::op::Stop;
use crate::mmu::access_raw::{copy_forward, fill as fill_host};
use crate::word::Word;

/// Where `bytes` bytes at `gla`, inside one page, can be read.
fn readable(cpu: &mut Cpu, gla: u64, bytes: u64) -> Result<Option<u64>, Stop> {
    if let Some(host) = cpu.host_for_read(gla, bytes) {
        return Ok(Some(host));
    }
    cpu.prepare_read(gla, 1)?;
    Ok(cpu.host_for_read(gla, bytes))
}

/// Where they can be written.
fn writable(cpu: &mut Cpu, gla: u64, bytes: u64) -> Result<Option<u64>, Stop> {
    if let Some(host) = cpu.host_for_write(gla, bytes) {
        return Ok(Some(host));
    }
    // All of it is told of at once, or every element before the first line of code would be alone.
    cpu.prepare_write(gla, bytes as u32)?;
    Ok(cpu.host_for_write(gla, bytes))
}

/// Copies `count` elements; false when it must be done one by one.
pub(crate) fn copy<T: Word>(cpu: &mut Cpu, to: u64, from: u64, count: u64) -> Result<bool, Stop> {
    let bytes = count * u64::from(T::BYTES);
    // One after the other: the two pages may share a slot of the TLB, but an address once found
    // stays good.
    let Some(from) = readable(cpu, from, bytes)? else {
        return Ok(false);
    };
    let Some(to) = writable(cpu, to, bytes)? else {
        return Ok(false);
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
        return Ok(true);
    }
    // Bytes copied in order equal elements copied in order unless an element overlaps its own copy.
    if above != 0 && above < u64::from(T::BYTES) {
        return Ok(false);
    }
    // SAFETY: as above.
    unsafe { copy_forward(to, from, bytes as usize) };
    Ok(true)
}

/// Fills `count` elements; false when it must be done one by one.
pub(crate) fn fill<T: Word>(cpu: &mut Cpu, to: u64, value: T, count: u64) -> Result<bool, Stop> {
    let Some(to) = writable(cpu, to, count * u64::from(T::BYTES))? else {
        return Ok(false);
    };
    // SAFETY: the range is plain RAM inside one page, as the TLB just said.
    unsafe { fill_host(to, value, count as usize) };
    Ok(true)
}
