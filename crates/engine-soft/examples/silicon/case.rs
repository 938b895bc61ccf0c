//! What is run: one instruction, the registers it starts from and the memory it sees.

use x86::Fpu;

/// Linear address of the first code page, the same in the guest and in this process.
pub(crate) const CODE: u64 = 0x1000_0000;
pub(crate) const CODE_PAGES: u64 = 2;
/// Linear address of the window that memory operands point into: a guard page, two writable pages,
/// a read-only one, a guard page.
pub(crate) const WINDOW: u64 = 0x1020_0000;
pub(crate) const WINDOW_PAGES: u64 = 5;
pub(crate) const DATA: u64 = WINDOW + 0x1000;
pub(crate) const DATA_PAGES: u64 = 3;
pub(crate) const WRITABLE_PAGES: u64 = 2;
pub(crate) const PAGE: usize = 0x1000;
/// Selectors of the 16-bit segments: entries 0 and 1 of the local descriptor table.
pub(crate) const LDT_CODE: u16 = 7;
pub(crate) const LDT_DATA: u16 = 15;

/// Width of the code: 64-bit mode, or long mode's compatibility mode with flat 32-bit segments or
/// with 16-bit segments that just cover the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Bits16,
    Bits32,
    Bits64,
}

impl Width {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Width::Bits16 => 16,
            Width::Bits32 => 32,
            Width::Bits64 => 64,
        }
    }

    /// Registers of each class that instructions can name.
    pub(crate) fn registers(self) -> u64 {
        if self == Width::Bits64 { 16 } else { 8 }
    }

    pub(crate) fn address_bytes(self) -> u32 {
        self.bits() / 8
    }

    /// Bits of a general register that mean something.
    pub(crate) fn mask(self) -> u64 {
        if self == Width::Bits64 {
            u64::MAX
        } else {
            0xffff_ffff
        }
    }

    /// Base of the code segment.
    pub(crate) fn code_base(self) -> u64 {
        if self == Width::Bits16 { CODE } else { 0 }
    }

    /// Base of the other segments.
    pub(crate) fn data_base(self) -> u64 {
        if self == Width::Bits16 { WINDOW } else { 0 }
    }
}

/// A user-mode register file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) gpr: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    pub(crate) fpu: Fpu,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) width: Width,
    pub(crate) registers: Registers,
    /// The instruction's bytes, at `registers.rip`; INT3 everywhere else.
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
    /// Contents of the data pages, read-only one last.
    pub(crate) data: Vec<u8>,
    /// Flags that the manuals leave undefined after it.
    pub(crate) undefined_flags: u64,
    /// A memory operand that the processor accesses in several steps.
    pub(crate) long_operand: bool,
    /// Which of two possible faults comes first is the processor's choice.
    pub(crate) loose_fault: bool,
}

impl Case {
    /// Where in the code pages the instruction lies.
    pub(crate) fn offset(&self) -> u64 {
        self.registers.rip + self.width.code_base() - CODE
    }
}

/// How it ended: in an INT3 if nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) registers: Registers,
    pub(crate) vector: u8,
    pub(crate) error_code: u64,
    pub(crate) cr2: u64,
    pub(crate) data: Vec<u8>,
}
