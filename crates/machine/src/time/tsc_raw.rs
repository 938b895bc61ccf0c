//! The host's time-stamp counter and CPUID.

use std::arch::x86_64::{__cpuid_count, _rdtsc, CpuidResult};

/// The host's TSC now.
#[must_use]
pub(super) fn read() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC; a host that traps it lets it complete.
    unsafe { _rdtsc() }
}

/// What the host's CPUID answers.
#[must_use]
pub(super) fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}
