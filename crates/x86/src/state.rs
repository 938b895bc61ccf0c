//! Everything a vCPU is, in one value that every engine can load and save (law 3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::register::{cr0, dr6, dr7, rflags};
use crate::{DescriptorTable, Segment};

/// x87, SSE and AVX registers, in the architecture's own encodings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fpu {
    pub control: u16,
    pub status: u16,
    /// Abridged tag word as FXSAVE stores it: bit n set when physical register n is in use.
    pub tag: u8,
    pub opcode: u16,
    pub instruction_pointer: u64,
    pub data_pointer: u64,
    /// ST(0) to ST(7) as FXSAVE orders them, 80 bits in the low ten bytes.
    pub st: [[u8; 16]; 8],
    pub mxcsr: u32,
    /// YMM0 to YMM15; XMM is the low 16 bytes.
    pub ymm: [[u8; 32]; 16],
}

impl Default for Fpu {
    /// State after INIT of a processor, which is also XRSTOR's initial configuration.
    fn default() -> Fpu {
        Fpu {
            control: 0x37f,
            status: 0,
            tag: 0,
            opcode: 0,
            instruction_pointer: 0,
            data_pointer: 0,
            st: [[0; 16]; 8],
            mxcsr: 0x1f80,
            ymm: [[0; 32]; 16],
        }
    }
}

/// Is the vCPU running, and if not, what wakes it?
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    #[default]
    Running,
    /// HLT: wakes on an interrupt, NMI or INIT.
    Halted,
    /// An application processor before its INIT/SIPI.
    WaitForSipi,
}

/// What is on its way into the vCPU but not architecturally visible yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Interrupts are held off for one instruction (after STI or MOV SS).
    pub interrupt_shadow: bool,
    pub nmi_pending: bool,
    /// An NMI handler runs; further NMIs wait for IRET.
    pub nmi_masked: bool,
    /// An exception or interrupt whose delivery was cut short and must be repeated.
    pub injected: Option<Injected>,
}

/// An event in delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    pub vector: u8,
    pub error_code: Option<u32>,
    /// INT n, INT3, INTO rather than a hardware event.
    pub software: bool,
}

/// The local APIC's registers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApicState {
    /// IA32_APIC_BASE.
    pub base: u64,
    /// The 64 registers of the page, 32 bits each, register n at offset 16 n. Empty: no APIC state.
    pub registers: Vec<u32>,
    /// IA32_TSC_DEADLINE, 0 when disarmed.
    pub tsc_deadline: u64,
}

/// A vCPU. `msrs` holds every MSR that has no field of its own here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuState {
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    /// In the order of [`crate::SegmentRegister`].
    pub segments: [Segment; 6],
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: DescriptorTable,
    pub idtr: DescriptorTable,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    /// DR0-DR3, then DR6, then DR7.
    pub dr: [u64; 6],
    pub efer: u64,
    pub xcr0: u64,
    pub pkru: u32,
    /// The guest's TSC at the moment the state was taken.
    pub tsc: u64,
    pub fpu: Fpu,
    pub msrs: BTreeMap<u32, u64>,
    pub apic: ApicState,
    pub events: Events,
    pub activity: Activity,
}

impl CpuState {
    /// Raised when a field changes, and with it the version of `machine::SavedMachine`, which says what else is to be
    /// done then.
    pub const VERSION: u16 = 1;

    /// The state after power-on reset. Spec: Intel SDM Vol. 3, "Processor State After Reset".
    #[must_use]
    pub fn at_reset() -> CpuState {
        let mut segments = [Segment::real(0); 6];
        segments[1] = Segment {
            base: 0xffff_0000,
            ..Segment::real(0xf000)
        };
        segments[1].rights |= Segment::CODE;
        let system = |kind: u16| Segment {
            limit: 0xffff,
            rights: Segment::PRESENT | kind,
            ..Segment::default()
        };
        CpuState {
            gpr: [0; 16],
            rip: 0xfff0,
            rflags: rflags::FIXED,
            segments,
            ldtr: system(2),
            tr: system(11),
            gdtr: DescriptorTable {
                base: 0,
                limit: 0xffff,
            },
            idtr: DescriptorTable {
                base: 0,
                limit: 0xffff,
            },
            cr0: cr0::CD | cr0::NW | cr0::ET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            dr: [0, 0, 0, 0, dr6::FIXED, dr7::FIXED],
            efer: 0,
            xcr0: 1,
            pkru: 0,
            tsc: 0,
            fpu: Fpu {
                control: 0x40,
                ..Fpu::default()
            },
            msrs: BTreeMap::new(),
            apic: ApicState::default(),
            events: Events::default(),
            activity: Activity::Running,
        }
    }
}
