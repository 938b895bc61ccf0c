//! What CPUID promises, as the system instructions ask for it. Computed once for each vCPU, so that
//! no instruction searches the table. Spec: Intel SDM Vol. 2, "CPUID".

use x86::cpuid::feature::{self as f, Output};
use x86::cpuid::{CpuidTable, Feature, xsave_component};
use x86::register::{cr4, efer};

/// Bits of [`Features::flags`]: instructions that are #UD without their feature.
pub(crate) mod has {
    pub(crate) const RDTSCP: u32 = 1 << 0;
    pub(crate) const RDPID: u32 = 1 << 1;
    pub(crate) const SMAP: u32 = 1 << 2;
    pub(crate) const INVPCID: u32 = 1 << 3;
    pub(crate) const CLFLUSHOPT: u32 = 1 << 4;
    pub(crate) const CLWB: u32 = 1 << 5;
    pub(crate) const RDRAND: u32 = 1 << 6;
    pub(crate) const RDSEED: u32 = 1 << 7;
    pub(crate) const SERIALIZE: u32 = 1 << 8;
    pub(crate) const MONITOR: u32 = 1 << 9;
    pub(crate) const SYSENTER: u32 = 1 << 10;
    pub(crate) const HYPERVISOR: u32 = 1 << 11;
    pub(crate) const TSC_ADJUST: u32 = 1 << 12;
    pub(crate) const XSAVES: u32 = 1 << 13;
    /// XGETBV with ECX = 1.
    pub(crate) const XINUSE: u32 = 1 << 14;
    pub(crate) const PKS: u32 = 1 << 15;
    /// The vendor is AMD: SYSCALL outside 64-bit mode, no SYSENTER in long mode, instruction
    /// breakpoints right after a load of SS.
    pub(crate) const AMD: u32 = 1 << 16;
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Features {
    /// See [`has`].
    pub(crate) flags: u32,
    /// Bits that CR4 may have.
    pub(crate) cr4: u64,
    /// Bits that EFER may have.
    pub(crate) efer: u64,
    /// Bits that XCR0 may have.
    pub(crate) xcr0: u64,
    /// Where in an XSAVE area in standard form AVX and PKRU are.
    pub(crate) avx_at: usize,
    pub(crate) pkru_at: usize,
}

/// Features that no CPU model offers, but a table from elsewhere may.
const fn other(leaf: u32, subleaf: u32, output: Output, bit: u8) -> Feature {
    Feature {
        name: "",
        leaf,
        subleaf,
        output,
        bit,
        needs: x86::cpuid::Needs::Engine,
    }
}

const FLAGS: &[(Feature, u32)] = &[
    (f::RDTSCP, has::RDTSCP),
    (f::RDPID, has::RDPID),
    (f::SMAP, has::SMAP),
    (f::INVPCID, has::INVPCID),
    (f::CLFLUSHOPT, has::CLFLUSHOPT),
    (other(7, 0, Output::Ebx, 24), has::CLWB),
    (f::RDRAND, has::RDRAND),
    (f::RDSEED, has::RDSEED),
    (other(7, 0, Output::Edx, 14), has::SERIALIZE),
    (other(1, 0, Output::Ecx, 3), has::MONITOR),
    (f::SEP, has::SYSENTER),
    (f::HYPERVISOR, has::HYPERVISOR),
    (f::TSC_ADJUST, has::TSC_ADJUST),
    (other(0xd, 1, Output::Eax, 3), has::XSAVES),
    (other(0xd, 1, Output::Eax, 2), has::XINUSE),
    (other(7, 0, Output::Ecx, 31), has::PKS),
];

/// Spec: Intel SDM Vol. 3, "Control Registers". TSD and PCE need no feature of their own.
const CR4: &[(Feature, u64)] = &[
    (f::TSC, cr4::TSD | cr4::PCE),
    (f::VME, cr4::VME | cr4::PVI),
    (f::DE, cr4::DE),
    (f::PSE, cr4::PSE),
    (f::PAE, cr4::PAE),
    (f::MCE, cr4::MCE),
    (f::PGE, cr4::PGE),
    (f::FXSR, cr4::OSFXSR),
    (f::SSE, cr4::OSXMMEXCPT),
    (f::UMIP, cr4::UMIP),
    (f::FSGSBASE, cr4::FSGSBASE),
    (f::PCID, cr4::PCIDE),
    (f::XSAVE, cr4::OSXSAVE),
    (f::SMEP, cr4::SMEP),
    (f::SMAP, cr4::SMAP),
    (f::PKU, cr4::PKE),
    (other(7, 0, Output::Ecx, 31), cr4::PKS),
];

const EFER: &[(Feature, u64)] = &[
    (f::SYSCALL, efer::SCE),
    (f::LM, efer::LME | efer::LMA),
    (f::NX, efer::NXE),
];

/// Offset of a component of the XSAVE area: behind the header where the table has none.
fn xsave_offset(table: &CpuidTable, component: u32) -> usize {
    let entry = table.find(0xd, component);
    entry.map_or(512 + 64, |entry| entry.ebx as usize)
}

impl Features {
    pub(crate) fn new(table: &CpuidTable) -> Features {
        let amd = table
            .find(0, 0)
            .is_some_and(|e| e.ebx == u32::from_le_bytes(*b"Auth"));
        let flags = FLAGS.iter().filter(|(feature, _)| table.has(*feature));
        let mut flags = flags.fold(0, |all, (_, bit)| all | bit);
        if amd {
            flags |= has::AMD;
        }
        let bits = |list: &[(Feature, u64)]| {
            let offered = list.iter().filter(|(feature, _)| table.has(*feature));
            offered.fold(0, |all, (_, bits)| all | bits)
        };
        Features {
            flags,
            cr4: bits(CR4),
            efer: bits(EFER),
            xcr0: table.xcr0_mask(),
            avx_at: xsave_offset(table, xsave_component::AVX),
            pkru_at: xsave_offset(table, xsave_component::PKRU),
        }
    }

    pub(crate) fn has(&self, bit: u32) -> bool {
        self.flags & bit != 0
    }
}
