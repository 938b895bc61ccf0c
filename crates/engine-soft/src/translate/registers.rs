//! Which host register holds which of the guest's while translated code runs.
//!
//! Most live in the register of the same name. RSP is the host's stack, RAX and R13 are scratch
//! (RAX because LAHF and SETO leave the status flags there), R12 points at the memory of a group of
//! accesses. So guest RSP lives in R14, RAX in R15. Four of the guest's stay in the vCPU's register
//! file: those that compilers take last, R10 and R11 of the registers that calls may change, R14 and R15
//! of those that they keep. The hosts' R10 and R11 hold guest R12 and R13.

use iced_x86::Register;

/// A register's number in the encoding, 0 to 15.
pub(super) type Number = u8;

/// First scratch: addresses, status flags, what fixed-register instructions need of RAX.
pub(super) const RAX: Number = 0;
pub(super) const RCX: Number = 1;
pub(super) const RDX: Number = 2;
/// Second scratch: TLB slots, memory-resident operands.
pub(super) const R13: Number = 13;

/// Host address of the group of accesses that is open. Handlers keep it, being a register that
/// called functions keep.
pub(super) const R12: Number = 12;

pub(super) const GUEST_RAX: Number = 15;
pub(super) const GUEST_RSP: Number = 14;
pub(super) const GUEST_RBP: Number = 5;

/// The host register of guest register `guest`; `None` for those that stay in memory.
pub(super) fn host_of(guest: Number) -> Option<Number> {
    match guest {
        0 => Some(GUEST_RAX),
        4 => Some(GUEST_RSP),
        12 => Some(10),
        13 => Some(11),
        10 | 11 | 14 | 15 => None,
        _ => Some(guest),
    }
}

/// Every guest register that has a host register, with it.
pub(super) fn resident() -> impl Iterator<Item = (Number, Number)> {
    (0..16).filter_map(|guest| Some((guest, host_of(guest)?)))
}

/// The 64-bit register with this number.
pub(super) fn wide(number: Number) -> Register {
    Register::RAX + u32::from(number)
}

/// The register with this number and of `size` bytes.
pub(super) fn sized(number: Number, size: usize) -> Register {
    let n = u32::from(number);
    match size {
        1 if n < 4 => Register::AL + n,
        1 => Register::SPL + (n - 4),
        2 => Register::AX + n,
        4 => Register::EAX + n,
        _ => Register::RAX + n,
    }
}

/// Number of a general register of any size.
pub(super) fn number(register: Register) -> Number {
    register.full_register().number() as Number
}

/// Is this AH, CH, DH or BH?
pub(super) fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}
