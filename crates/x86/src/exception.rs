//! Exception vectors and what they push. Spec: Intel SDM Vol. 3, "Interrupt and Exception Handling".

pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

/// Bits of a page fault's error code.
pub mod page_fault {
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
    pub const PROTECTION_KEY: u32 = 1 << 5;
}

/// A fault, trap or abort on its way to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    pub vector: u8,
    /// What is pushed, for the vectors that push one.
    pub error_code: Option<u32>,
    /// New CR2, for page faults.
    pub address: Option<u64>,
}

impl Exception {
    #[must_use]
    pub const fn plain(vector: u8) -> Exception {
        Exception {
            vector,
            error_code: None,
            address: None,
        }
    }

    #[must_use]
    pub const fn with_code(vector: u8, error_code: u32) -> Exception {
        Exception {
            vector,
            error_code: Some(error_code),
            address: None,
        }
    }

    #[must_use]
    pub const fn gp(error_code: u32) -> Exception {
        Exception::with_code(vector::GP, error_code)
    }

    #[must_use]
    pub const fn page_fault(error_code: u32, address: u64) -> Exception {
        Exception {
            vector: vector::PF,
            error_code: Some(error_code),
            address: Some(address),
        }
    }
}
