//! What is run: one instruction, the registers it starts from and the memory it sees.

use x86::Fpu;

/// Linear address of the first code page, the same in the guest and in this process.
pub const CODE: u64 = 0x1000_0000;
pub const CODE_PAGES: u64 = 2;
/// Linear address of the window that memory operands point into: a guard page, two writable pages,
/// a read-only one, a guard page.
pub const WINDOW: u64 = 0x1020_0000;
pub const WINDOW_PAGES: u64 = 5;
pub const DATA: u64 = WINDOW + 0x1000;
pub const DATA_PAGES: u64 = 3;
pub const WRITABLE_PAGES: u64 = 2;
pub const PAGE: usize = 0x1000;

/// A user-mode register file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub fpu: Fpu,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub registers: Registers,
    /// The instruction's bytes, at `registers.rip`; INT3 everywhere else.
    pub bytes: Vec<u8>,
    pub text: String,
    /// Contents of the data pages, read-only one last.
    pub data: Vec<u8>,
    /// Flags that the manuals leave undefined after it.
    pub undefined_flags: u64,
}

/// How it ended: in an INT3 if nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub registers: Registers,
    pub vector: u8,
    pub error_code: u64,
    pub cr2: u64,
    pub data: Vec<u8>,
}
