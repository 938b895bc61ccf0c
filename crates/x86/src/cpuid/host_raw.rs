//! The CPUID instruction itself.

use std::arch::x86_64::__cpuid_count;

use super::CpuidEntry;

/// Executes CPUID.
pub(super) fn cpuid(leaf: u32, subleaf: u32) -> CpuidEntry {
    let answer = __cpuid_count(leaf, subleaf);
    CpuidEntry {
        leaf,
        subleaf,
        indexed: false,
        eax: answer.eax,
        ebx: answer.ebx,
        ecx: answer.ecx,
        edx: answer.edx,
    }
}
