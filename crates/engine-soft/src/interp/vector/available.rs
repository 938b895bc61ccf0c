//! Which instruction sets a guest may use: what its CPUID promises and the host's silicon keeps.
//!
//! Both are asked. A CPUID table may come from a snapshot made on another host, and an instruction
//! that the host lacks must never reach its decoder. Spec: Intel SDM Vol. 2, "CPUID".

use std::arch::is_x86_feature_detected;

use iced_x86::CpuidFeature;
use x86::cpuid::feature::{self as f};
use x86::cpuid::{CpuidTable, Feature};

/// A set of instruction sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Available(u32);

/// One instruction set: the decoder's name, CPUID's, and whether this host has it.
struct Set(CpuidFeature, Feature, fn() -> bool);

/// Every x86-64 processor has these.
fn always() -> bool {
    true
}

macro_rules! detect {
    ($name:tt) => {
        || is_x86_feature_detected!($name)
    };
}

const FDP_EXCEPTIONS_ONLY: u32 = 1 << 31;

/// At most 31; a set's position is its bit.
const SETS: &[Set] = &[
    Set(CpuidFeature::FPU, f::FPU, always),
    Set(CpuidFeature::CMOV, f::CMOV, always),
    Set(CpuidFeature::MMX, f::MMX, always),
    Set(CpuidFeature::FXSR, f::FXSR, always),
    Set(CpuidFeature::SSE, f::SSE, always),
    Set(CpuidFeature::SSE2, f::SSE2, always),
    Set(CpuidFeature::SSE3, f::SSE3, detect!("sse3")),
    Set(CpuidFeature::SSSE3, f::SSSE3, detect!("ssse3")),
    Set(CpuidFeature::SSE4_1, f::SSE4_1, detect!("sse4.1")),
    Set(CpuidFeature::SSE4_2, f::SSE4_2, detect!("sse4.2")),
    Set(CpuidFeature::POPCNT, f::POPCNT, detect!("popcnt")),
    Set(CpuidFeature::MOVBE, f::MOVBE, detect!("movbe")),
    Set(CpuidFeature::AES, f::AES, detect!("aes")),
    Set(CpuidFeature::PCLMULQDQ, f::PCLMULQDQ, detect!("pclmulqdq")),
    Set(CpuidFeature::SHA, f::SHA_NI, detect!("sha")),
    Set(CpuidFeature::AVX, f::AVX, detect!("avx")),
    Set(CpuidFeature::AVX2, f::AVX2, detect!("avx2")),
    Set(CpuidFeature::FMA, f::FMA, detect!("fma")),
    Set(CpuidFeature::F16C, f::F16C, detect!("f16c")),
    Set(CpuidFeature::BMI1, f::BMI1, detect!("bmi1")),
    Set(CpuidFeature::BMI2, f::BMI2, detect!("bmi2")),
    Set(CpuidFeature::ADX, f::ADX, detect!("adx")),
    Set(CpuidFeature::LZCNT, f::LZCNT, detect!("lzcnt")),
    Set(CpuidFeature::GFNI, f::GFNI, detect!("gfni")),
    Set(CpuidFeature::VAES, f::VAES, detect!("vaes")),
    Set(
        CpuidFeature::VPCLMULQDQ,
        f::VPCLMULQDQ,
        detect!("vpclmulqdq"),
    ),
    Set(CpuidFeature::AVX_VNNI, f::AVX_VNNI, detect!("avxvnni")),
    Set(CpuidFeature::XSAVE, f::XSAVE, always),
    Set(CpuidFeature::XSAVEOPT, f::XSAVEOPT, always),
];

impl Available {
    pub(crate) fn new(table: &CpuidTable) -> Available {
        let offered = |set: &Set| table.has(set.1) && (set.2)();
        let bits = (0..).zip(SETS).filter(|(_, set)| offered(set));
        let mut all = bits.fold(0, |all, (bit, _)| all | 1 << bit);
        if table.has(f::FDP_EXCEPTIONS_ONLY) {
            all |= FDP_EXCEPTIONS_ONLY;
        }
        Available(all)
    }

    /// The x87 data pointer is updated by unmasked exceptions only.
    pub(crate) fn data_pointer_on_exception_only(self) -> bool {
        self.0 & FDP_EXCEPTIONS_ONLY != 0
    }

    /// Are all of these there? Sets that this module does not know are not.
    pub(crate) fn has_all(self, needed: &[CpuidFeature]) -> bool {
        !needed.is_empty() && needed.iter().all(|&feature| self.has(feature))
    }

    /// Those of these that are known here. Sets that every processor has are not.
    pub(crate) fn known(features: &[CpuidFeature]) -> Available {
        let bit = |feature| SETS.iter().position(|set| set.0 == feature);
        let bits = features.iter().filter_map(|&feature| bit(feature));
        Available(bits.fold(0, |all, bit| all | 1 << bit))
    }

    /// Is any of `needed` not there?
    pub(crate) fn lacks(self, needed: Available) -> bool {
        needed.0 & !self.0 != 0
    }

    pub(crate) fn has(self, feature: CpuidFeature) -> bool {
        // The FPU's later instructions came with processors older than any x86-64 one.
        let feature = match feature {
            CpuidFeature::FPU287 | CpuidFeature::FPU387 => CpuidFeature::FPU,
            other => other,
        };
        let position = SETS.iter().position(|set| set.0 == feature);
        position.is_some_and(|bit| self.0 & 1 << bit != 0)
    }
}
