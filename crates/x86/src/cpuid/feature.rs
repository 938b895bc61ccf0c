//! The features that CPUID tells of, each by the bit that tells it.
//!
//! Spec: Intel SDM Vol. 2, "CPUID"; AMD APM Vol. 3, "Obtaining Processor Information Via the CPUID
//! Instruction"; Linux Documentation/virt/kvm/x86/cpuid.rst for leaf 4000_0001h.

use super::CpuidTable;

/// Output register of CPUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Who must have a feature so that a guest may be told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Every engine makes it itself: paging bits, system instructions, interrupt controllers. (KVM
    /// still removes what its host cannot.)
    Engine,
    /// Its instructions run on the host's own silicon, whatever the engine.
    Silicon,
}

/// One bit of one leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// As `/proc/cpuinfo` names it.
    pub name: &'static str,
    pub leaf: u32,
    pub subleaf: u32,
    pub output: Output,
    pub bit: u8,
    pub needs: Needs,
}

impl Feature {
    /// Does the table tell of this feature?
    #[must_use]
    pub fn is_in(&self, table: &CpuidTable) -> bool {
        table
            .find(self.leaf, self.subleaf)
            .is_some_and(|entry| entry.output(self.output) & (1 << self.bit) != 0)
    }
}

macro_rules! features {
    ($($leaf:literal . $subleaf:literal $output:ident $needs:ident { $($id:ident = $bit:literal $name:literal),* $(,)? })*) => {
        $($(
            pub const $id: Feature = Feature {
                name: $name,
                leaf: $leaf,
                subleaf: $subleaf,
                output: Output::$output,
                bit: $bit,
                needs: Needs::$needs,
            };
        )*)*
        /// Every feature that some model may offer, or a person ask for.
        pub const ALL: &[Feature] = &[$($($id),*),*];
    };
}

features! {
    0x1 . 0 Edx Engine {
        FPU = 0 "fpu", VME = 1 "vme", DE = 2 "de", PSE = 3 "pse", TSC = 4 "tsc", MSR = 5 "msr",
        PAE = 6 "pae", MCE = 7 "mce", CX8 = 8 "cx8", APIC = 9 "apic", SEP = 11 "sep",
        MTRR = 12 "mtrr", PGE = 13 "pge", MCA = 14 "mca", CMOV = 15 "cmov", PAT = 16 "pat",
        PSE36 = 17 "pse36", CLFLUSH = 19 "clflush", MMX = 23 "mmx", FXSR = 24 "fxsr",
        SSE = 25 "sse", SSE2 = 26 "sse2", SELF_SNOOP = 27 "ss",
    }
    0x1 . 0 Ecx Silicon {
        SSE3 = 0 "pni", PCLMULQDQ = 1 "pclmulqdq", SSSE3 = 9 "ssse3", FMA = 12 "fma",
        CX16 = 13 "cx16", SSE4_1 = 19 "sse4_1", SSE4_2 = 20 "sse4_2", MOVBE = 22 "movbe",
        POPCNT = 23 "popcnt", AES = 25 "aes", AVX = 28 "avx", F16C = 29 "f16c",
        RDRAND = 30 "rdrand",
    }
    0x1 . 0 Ecx Engine {
        PCID = 17 "pcid", X2APIC = 21 "x2apic", TSC_DEADLINE = 24 "tsc_deadline_timer",
        XSAVE = 26 "xsave", HYPERVISOR = 31 "hypervisor",
    }
    0x6 . 0 Eax Engine { ARAT = 2 "arat" }
    0x7 . 0 Ebx Engine {
        FSGSBASE = 0 "fsgsbase", TSC_ADJUST = 1 "tsc_adjust", SMEP = 7 "smep", ERMS = 9 "erms",
        INVPCID = 10 "invpcid", SMAP = 20 "smap", CLFLUSHOPT = 23 "clflushopt",
    }
    0x7 . 0 Ebx Silicon {
        BMI1 = 3 "bmi1", AVX2 = 5 "avx2", FDP_EXCEPTIONS_ONLY = 6 "fdp_excptn_only",
        BMI2 = 8 "bmi2", ZERO_FCS_FDS = 13 "zero_fcs_fds", RDSEED = 18 "rdseed", ADX = 19 "adx",
        SHA_NI = 29 "sha_ni",
    }
    0x7 . 0 Ecx Engine { UMIP = 2 "umip", PKU = 3 "pku", RDPID = 22 "rdpid", PKS = 31 "pks" }
    0x7 . 0 Ecx Silicon { GFNI = 8 "gfni", VAES = 9 "vaes", VPCLMULQDQ = 10 "vpclmulqdq" }
    0x7 . 0 Edx Engine {
        FSRM = 4 "fsrm", SPEC_CTRL = 26 "spec_ctrl", ARCH_CAPABILITIES = 29 "arch_capabilities",
    }
    0x7 . 1 Eax Silicon { AVX_VNNI = 4 "avx_vnni" }
    0x7 . 2 Edx Engine { BHI_CTRL = 4 "bhi_ctrl" }
    0xd . 1 Eax Engine { XSAVEOPT = 0 "xsaveopt" }
    0x8000_0001 . 0 Ecx Engine { LAHF_LM = 0 "lahf_lm", PREFETCHW = 8 "3dnowprefetch" }
    0x8000_0001 . 0 Ecx Silicon { LZCNT = 5 "abm" }
    0x8000_0001 . 0 Edx Engine {
        SYSCALL = 11 "syscall", NX = 20 "nx", PDPE1GB = 26 "pdpe1gb", RDTSCP = 27 "rdtscp",
        LM = 29 "lm",
    }
    0x8000_0007 . 0 Edx Engine { INVARIANT_TSC = 8 "nonstop_tsc" }
    0x4000_0001 . 0 Eax Engine {
        KVM_CLOCK_OLD = 0 "kvmclock_old", KVM_NO_IO_DELAY = 1 "kvm_no_io_delay",
        KVM_CLOCK = 3 "kvmclock", KVM_CLOCK_STABLE = 24 "kvmclock_stable",
    }
}

/// What the AMD-like form of a model says in place of [`SPEC_CTRL`] and [`ARCH_CAPABILITIES`]:
/// LFENCE is serialising, branch prediction is isolated by EFER.AIBRSE alone, and the return
/// address predictor needs no scrubbing.
pub mod amd {
    use super::{Feature, Needs, Output};

    const fn leaf_21(name: &'static str, bit: u8) -> Feature {
        Feature {
            name,
            leaf: 0x8000_0021,
            subleaf: 0,
            output: Output::Eax,
            bit,
            needs: Needs::Engine,
        }
    }

    pub const LFENCE_SERIALIZING: Feature = leaf_21("lfence_rdtsc", 2);
    pub const NULL_SELECTOR_CLEARS_BASE: Feature = leaf_21("null_sel_clr_base", 6);
    pub const SRSO_NO: Feature = leaf_21("srso_no", 29);
    pub const ALL: &[Feature] = &[LFENCE_SERIALIZING, NULL_SELECTOR_CLEARS_BASE, SRSO_NO];
}
