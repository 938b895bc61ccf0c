//! What a vCPU tells the machine, and what the machine answers.

use memory::Gpa;
use x86::Exception;

/// Why the guest stopped running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Answer with [`Entry::CompleteRead`]. `size` is 1, 2 or 4 bytes.
    PortRead {
        port: u16,
        size: u8,
    },
    PortWrite {
        port: u16,
        size: u8,
        value: u32,
    },
    /// A repeated INS, of elements of `size` bytes, from a vCPU that was told [`Vcpu::take_strings`]: fill
    /// [`Vcpu::string`](crate::Vcpu::string), and answer with [`Entry::Resume`].
    ///
    /// [`Vcpu::take_strings`]: crate::Vcpu::take_strings
    PortReadString {
        port: u16,
        size: u8,
    },
    /// A repeated OUTS likewise: what is written is there.
    PortWriteString {
        port: u16,
        size: u8,
    },
    /// Answer with [`Entry::CompleteRead`]. `size` is 1, 2, 4 or 8 bytes.
    MmioRead {
        gpa: Gpa,
        size: u8,
    },
    MmioWrite {
        gpa: Gpa,
        size: u8,
        value: u64,
    },
    /// RDMSR of an MSR that the engine does not keep: IA32_APIC_BASE, x2APIC, TSC deadline, kvmclock
    /// and unknown ones. Answer with [`Entry::CompleteRead`] or [`Entry::Fault`].
    MsrRead {
        index: u32,
    },
    /// WRMSR likewise. Answer with [`Entry::Resume`] or [`Entry::Fault`].
    MsrWrite {
        index: u32,
        value: u64,
    },
    /// MOV from CR8: the task priority. Answer with [`Entry::CompleteRead`].
    TprRead,
    TprWrite {
        value: u8,
    },
    /// VMCALL. Answer with [`Entry::CompleteRead`] (new RAX) or [`Entry::Fault`].
    Hypercall {
        number: u64,
        args: [u64; 4],
    },
    /// HLT, and nothing pending. Enter again when there is.
    Halted,
    /// An interrupt was wanted and can be taken now. Answer with [`Entry::Inject`] or `Resume`.
    InterruptWindow,
    /// An in-kernel controller saw the EOI of this level-triggered vector.
    LevelEoi {
        vector: u8,
    },
    /// Somebody kicked the vCPU.
    Interrupted,
    TripleFault,
    /// A debugger's breakpoint or step: where, and DR6.
    Debug {
        rip: u64,
        dr6: u64,
    },
    /// The engine cannot go on: what it was doing, in words for the person who runs the guest.
    Failed {
        what: String,
    },
}

/// What the engine must finish before it enters the guest again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Resume,
    CompleteRead(u64),
    /// The exit's instruction raises this instead of completing.
    Fault(FaultAnswer),
    /// Deliver this external interrupt first. Only after [`Exit::InterruptWindow`].
    Inject(u8),
}

/// The fault an instruction ends in.
pub type FaultAnswer = Exception;
