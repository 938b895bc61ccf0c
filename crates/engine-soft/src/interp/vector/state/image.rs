//! The legacy region of an FXSAVE or XSAVE area. Spec: Intel SDM Vol. 1, "Layout of FXSAVE Area".

use x86::Fpu;

use crate::interp::vector::x87::words;

/// Bytes that FXSAVE writes; the last 48 of its 512 belong to software.
pub(crate) const WRITTEN: usize = 416;
pub(crate) const MXCSR_AT: usize = 24;
const MXCSR_MASK: u32 = 0xffff;
const ST_AT: usize = 32;
pub(crate) const XMM_AT: usize = 160;

/// x87 part, bytes 0 to 23 and 32 to 159. `wide` is the 64-bit form: pointers without selectors.
pub(crate) fn put_x87(fpu: &Fpu, image: &mut [u8], wide: bool) {
    image[0..2].copy_from_slice(&fpu.control.to_le_bytes());
    image[2..4].copy_from_slice(&fpu.status.to_le_bytes());
    image[4] = fpu.tag;
    image[5] = 0;
    image[6..8].copy_from_slice(&(fpu.opcode & 0x7ff).to_le_bytes());
    // FCS and FDS read as zero.
    let pointer = |value: u64| if wide { value } else { value & 0xffff_ffff };
    image[8..16].copy_from_slice(&pointer(fpu.instruction_pointer).to_le_bytes());
    image[16..24].copy_from_slice(&pointer(fpu.data_pointer).to_le_bytes());
    for (n, register) in fpu.st.iter().enumerate() {
        let to = &mut image[ST_AT + n * 16..][..16];
        to[..10].copy_from_slice(&register[..10]);
        to[10..].fill(0);
    }
}

pub(crate) fn take_x87(fpu: &mut Fpu, image: &[u8], wide: bool) {
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let pointer = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&image[at..at + 8]);
        let value = u64::from_le_bytes(bytes);
        if wide { value } else { value & 0xffff_ffff }
    };
    fpu.status = word(2);
    words::put_control(fpu, word(0));
    fpu.tag = image[4];
    fpu.opcode = word(6) & 0x7ff;
    fpu.instruction_pointer = pointer(8);
    fpu.data_pointer = pointer(16);
    for (n, register) in fpu.st.iter_mut().enumerate() {
        register[..10].copy_from_slice(&image[ST_AT + n * 16..][..10]);
    }
}

pub(crate) fn put_mxcsr(fpu: &Fpu, image: &mut [u8]) {
    image[MXCSR_AT..][..4].copy_from_slice(&fpu.mxcsr.to_le_bytes());
    image[MXCSR_AT + 4..][..4].copy_from_slice(&MXCSR_MASK.to_le_bytes());
}

pub(crate) fn mxcsr(image: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&image[MXCSR_AT..][..4]);
    u32::from_le_bytes(bytes)
}

/// The first `count` XMM registers: outside 64-bit mode there are eight.
pub(crate) fn put_xmm(fpu: &Fpu, image: &mut [u8], count: usize) {
    for (n, register) in fpu.ymm[..count].iter().enumerate() {
        image[XMM_AT + n * 16..][..16].copy_from_slice(&register[..16]);
    }
}

pub(crate) fn take_xmm(fpu: &mut Fpu, image: &[u8], count: usize) {
    for (n, register) in fpu.ymm[..count].iter_mut().enumerate() {
        register[..16].copy_from_slice(&image[XMM_AT + n * 16..][..16]);
    }
}
