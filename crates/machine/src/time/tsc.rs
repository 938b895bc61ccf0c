//! How fast the guest's TSC runs: as fast as the host's, which software engines read.
//!
//! Spec: Intel SDM Vol. 2, "CPUID", leaf 15h; Linux Documentation/virt/kvm/x86/cpuid.rst, 40000010h.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::tsc_raw;

const NANOS: u128 = 1_000_000_000;

/// Frequency of the TSC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TscRate {
    pub khz: u64,
}

impl TscRate {
    /// The host's rate: named by CPUID, else measured once per process.
    #[must_use]
    pub fn host() -> TscRate {
        static RATE: OnceLock<TscRate> = OnceLock::new();
        *RATE.get_or_init(|| {
            from_hypervisor()
                .or_else(from_crystal)
                .unwrap_or_else(measure)
        })
    }

    /// Nanoseconds that `ticks` last.
    #[must_use]
    pub fn nanos(self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * NANOS / (u128::from(self.khz.max(1)) * 1000);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Ticks in `nanos` nanoseconds.
    #[must_use]
    pub fn ticks(self, nanos: u64) -> u64 {
        let ticks = u128::from(nanos) * u128::from(self.khz) * 1000 / NANOS;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

fn plausible(khz: u64) -> Option<TscRate> {
    (100_000..20_000_000)
        .contains(&khz)
        .then_some(TscRate { khz })
}

fn from_hypervisor() -> Option<TscRate> {
    const HYPERVISOR: u32 = 1 << 31;
    const TIMING: u32 = 0x4000_0010;
    let guest = tsc_raw::cpuid(1, 0).ecx & HYPERVISOR != 0;
    let highest = tsc_raw::cpuid(0x4000_0000, 0).eax;
    if !guest || !(TIMING..0x4001_0000).contains(&highest) {
        return None;
    }
    plausible(u64::from(tsc_raw::cpuid(TIMING, 0).eax))
}

fn from_crystal() -> Option<TscRate> {
    if tsc_raw::cpuid(0, 0).eax < 0x15 {
        return None;
    }
    let leaf = tsc_raw::cpuid(0x15, 0);
    let (denominator, numerator) = (u64::from(leaf.eax), u64::from(leaf.ebx));
    let hertz = (u64::from(leaf.ecx) * numerator).checked_div(denominator)?;
    plausible(hertz / 1000)
}

fn measure() -> TscRate {
    const LENGTH: Duration = Duration::from_millis(20);
    let (start, first) = (Instant::now(), tsc_raw::read());
    std::thread::sleep(LENGTH);
    let (elapsed, last) = (start.elapsed(), tsc_raw::read());
    let ticks = u128::from(last.wrapping_sub(first));
    let khz = ticks * 1_000_000 / elapsed.as_nanos().max(1);
    TscRate {
        khz: u64::try_from(khz).unwrap_or(1).max(1),
    }
}
