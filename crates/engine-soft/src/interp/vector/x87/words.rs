//! The control, status and tag words, and the order of the register stack. Spec: Intel SDM Vol. 1,
//! "x87 FPU Execution Environment".

use x86::Fpu;

/// Bits of the control word that exist; bit 6 always reads as one.
pub(crate) const CONTROL: u16 = 0x1f3f;
pub(crate) const CONTROL_FIXED: u16 = 0x40;
pub(crate) const EXCEPTIONS: u16 = 0x3f;
/// Error summary and busy: an unmasked exception is pending.
pub(crate) const PENDING: u16 = 0x8080;
pub(crate) const TOP_SHIFT: u16 = 11;

pub(crate) fn top(fpu: &Fpu) -> usize {
    usize::from(fpu.status >> TOP_SHIFT & 7)
}

/// Sets the control word.
pub(crate) fn put_control(fpu: &mut Fpu, value: u16) {
    fpu.control = value & CONTROL | CONTROL_FIXED;
    settle(fpu);
}

/// Sets the status word; registers stay where they are, so the stack is counted from a new top.
pub(crate) fn put_status(fpu: &mut Fpu, value: u16) {
    let from = top(fpu);
    fpu.status = value;
    let to = top(fpu);
    fpu.st.rotate_left((to + 8 - from) & 7);
    settle(fpu);
}

/// Makes the summary bits say whether an unmasked exception is pending.
pub(crate) fn settle(fpu: &mut Fpu) {
    if fpu.status & !fpu.control & EXCEPTIONS != 0 {
        fpu.status |= PENDING;
    } else {
        fpu.status &= !PENDING;
    }
}

/// The state after FNINIT; the registers' contents stay.
pub(crate) fn initialise(fpu: &mut Fpu) {
    put_status(fpu, 0);
    fpu.control = 0x37f;
    fpu.tag = 0;
    fpu.opcode = 0;
    fpu.instruction_pointer = 0;
    fpu.data_pointer = 0;
}

/// The tag word in full: valid, zero, special or empty for each physical register.
pub(crate) fn full_tag(fpu: &Fpu) -> u16 {
    let mut tag = 0;
    for physical in 0..8 {
        let register = &fpu.st[(physical + 8 - top(fpu)) & 7];
        let kind = if fpu.tag >> physical & 1 == 0 {
            3
        } else {
            class(register)
        };
        tag |= kind << (2 * physical);
    }
    tag
}

fn class(register: &[u8; 16]) -> u16 {
    let exponent = u16::from_le_bytes([register[8], register[9]]) & 0x7fff;
    let mut significand = [0; 8];
    significand.copy_from_slice(&register[..8]);
    let significand = u64::from_le_bytes(significand);
    match (exponent, significand) {
        (0, 0) => 1,
        (0 | 0x7fff, _) => 2,
        _ if significand >> 63 == 0 => 2,
        _ => 0,
    }
}

/// The abridged tag byte of a full tag word.
pub(crate) fn abridged(full: u16) -> u8 {
    (0..8).fold(0, |tag, n| tag | u8::from(full >> (2 * n) & 3 != 3) << n)
}
