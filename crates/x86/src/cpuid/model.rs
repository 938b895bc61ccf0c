//! Named CPU models: which features a guest is told of, as data.
//!
//! Family and model are Intel's family 6 with a model number that no processor has, so that no list
//! of a guest's workarounds matches it; what would be assumed of an unknown processor is answered by
//! `IA32_ARCH_CAPABILITIES` ([`CpuModel::arch_capabilities`]).
//!
//! Why that MSR, and what it promises. Linux assumes of an unknown Intel processor that it leaks
//! through L1TF, MDS, TAA, MMIO stale data and so on, and then clears buffers with VERW at every
//! return to user space, splits its page tables, and turns every indirect call into a retpoline.
//! Each of these costs a guest dearly in a software engine and protects it from nothing there: the
//! attack needs the guest's own instruction stream on the silicon, and the host's kernel mitigates
//! for the process that the guest is. So the model says RDCL_NO, MDS_NO, TAA_NO and their like, and
//! IBRS_ALL ("enhanced IBRS": SPEC_CTRL is written once at boot, no retpolines). Under KVM the value
//! is intersected with the host's own, so nothing is promised that the silicon does not keep.
//!
//! BHI_NO alone does not help: Linux takes every guest to be open to branch history injection and
//! then runs a loop of a hundred instructions at each system call, unless the processor can keep the
//! history apart itself (BHI_CTRL, a bit of SPEC_CTRL written once).

use super::feature::{self as f, Feature};

/// A CPU as a guest sees it, before the host has its say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuModel {
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// What the guest is told of, as groups.
    pub features: &'static [&'static [Feature]],
    /// `IA32_ARCH_CAPABILITIES`, where the model has that MSR; otherwise 0.
    pub arch_capabilities: u64,
}

/// The model of guests that name none.
pub const DEFAULT_MODEL: &str = "innkeeper-v1";

/// Bits of `IA32_ARCH_CAPABILITIES`. Spec: Intel SDM Vol. 4, "IA32_ARCH_CAPABILITIES".
mod arch_capability {
    pub(super) const RDCL_NO: u64 = 1 << 0;
    pub(super) const IBRS_ALL: u64 = 1 << 1;
    pub(super) const SKIP_L1DFL_VMENTRY: u64 = 1 << 3;
    pub(super) const SSB_NO: u64 = 1 << 4;
    pub(super) const MDS_NO: u64 = 1 << 5;
    pub(super) const PSCHANGE_MC_NO: u64 = 1 << 6;
    pub(super) const TAA_NO: u64 = 1 << 8;
    pub(super) const SBDR_SSDP_NO: u64 = 1 << 13;
    pub(super) const FBSDP_NO: u64 = 1 << 14;
    pub(super) const PSDP_NO: u64 = 1 << 15;
    pub(super) const BHI_NO: u64 = 1 << 20;
    pub(super) const PBRSB_NO: u64 = 1 << 24;
    pub(super) const GDS_NO: u64 = 1 << 26;
    pub(super) const RFDS_NO: u64 = 1 << 27;
    pub(super) const ITS_NO: u64 = 1 << 62;
    pub(super) const ALL: u64 = RDCL_NO
        | IBRS_ALL
        | SKIP_L1DFL_VMENTRY
        | SSB_NO
        | MDS_NO
        | PSCHANGE_MC_NO
        | TAA_NO
        | SBDR_SSDP_NO
        | FBSDP_NO
        | PSDP_NO
        | BHI_NO
        | PBRSB_NO
        | GDS_NO
        | RFDS_NO
        | ITS_NO;
}

/// What every 64-bit operating system of the last twenty years starts from, and the paravirtual
/// clock without which a guest must measure its TSC.
const PLATFORM: &[Feature] = &[
    f::VME,
    f::DE,
    f::PSE,
    f::MCE,
    f::APIC,
    f::SEP,
    f::MTRR,
    f::PGE,
    f::MCA,
    f::PAT,
    f::PSE36,
    f::CLFLUSH,
    f::SELF_SNOOP,
    f::HYPERVISOR,
    f::X2APIC,
    f::TSC_DEADLINE,
    f::ARAT,
    f::NX,
    f::INVARIANT_TSC,
    f::KVM_CLOCK_OLD,
    f::KVM_NO_IO_DELAY,
    f::KVM_CLOCK,
    f::KVM_CLOCK_STABLE,
];

/// Spec: x86-64 psABI, "Micro-Architecture Levels".
const LEVEL_1: &[Feature] = &[
    f::FPU,
    f::TSC,
    f::MSR,
    f::PAE,
    f::CX8,
    f::CMOV,
    f::MMX,
    f::FXSR,
    f::SSE,
    f::SSE2,
    f::SYSCALL,
    f::LM,
    // Not features but how the silicon's x87 behaves: a guest is told what it gets.
    f::FDP_EXCEPTIONS_ONLY,
    f::ZERO_FCS_FDS,
];
const LEVEL_2: &[Feature] = &[
    f::CX16,
    f::LAHF_LM,
    f::POPCNT,
    f::SSE3,
    f::SSE4_1,
    f::SSE4_2,
    f::SSSE3,
];
const LEVEL_3: &[Feature] = &[
    f::AVX,
    f::AVX2,
    f::BMI1,
    f::BMI2,
    f::F16C,
    f::FMA,
    f::LZCNT,
    f::MOVBE,
    f::XSAVE,
    f::XSAVEOPT,
];

/// What modern kernels use beyond the level. ERMS and FSRM say that REP MOVSB is the fast way to
/// copy, which in a software engine it is: one instruction for the whole copy.
const INNKEEPER: &[Feature] = &[
    f::AES,
    f::PCLMULQDQ,
    f::SHA_NI,
    f::ADX,
    f::RDRAND,
    f::RDSEED,
    f::PREFETCHW,
    f::RDTSCP,
    f::PDPE1GB,
    f::FSGSBASE,
    f::TSC_ADJUST,
    f::SMEP,
    f::SMAP,
    f::UMIP,
    f::PKU,
    f::PCID,
    f::INVPCID,
    f::ERMS,
    f::FSRM,
    f::CLFLUSHOPT,
    f::SPEC_CTRL,
    f::BHI_CTRL,
    f::ARCH_CAPABILITIES,
];

/// Only in `host`: whole and useful, but not on every machine that a guest might move to.
const HOST_ONLY: &[Feature] = &[f::RDPID, f::GFNI, f::VAES, f::VPCLMULQDQ, f::AVX_VNNI];

static MODELS: &[CpuModel] = &[
    CpuModel {
        name: "innkeeper-v1",
        description: "The default: x86-64-v3 with AES, SHA and what modern kernels use;                       the same on every host of the last ten years",
        features: &[PLATFORM, LEVEL_1, LEVEL_2, LEVEL_3, INNKEEPER],
        arch_capabilities: arch_capability::ALL,
    },
    CpuModel {
        name: "host",
        description: "Everything that both this host's processor and Innkeeper have;                       the guest may not run elsewhere",
        features: &[PLATFORM, LEVEL_1, LEVEL_2, LEVEL_3, INNKEEPER, HOST_ONLY],
        arch_capabilities: arch_capability::ALL,
    },
    CpuModel {
        name: "x86-64-v3",
        description: "The psABI's level 3 (AVX2, BMI, FMA) and no more",
        features: &[PLATFORM, LEVEL_1, LEVEL_2, LEVEL_3],
        arch_capabilities: 0,
    },
    CpuModel {
        name: "x86-64-v2",
        description: "The psABI's level 2 (SSE4.2, POPCNT) and no more",
        features: &[PLATFORM, LEVEL_1, LEVEL_2],
        arch_capabilities: 0,
    },
    CpuModel {
        name: "x86-64-v1",
        description: "The psABI's baseline (SSE2): any 64-bit processor",
        features: &[PLATFORM, LEVEL_1],
        arch_capabilities: 0,
    },
];

/// All models, the default first.
#[must_use]
pub fn models() -> &'static [CpuModel] {
    MODELS
}
