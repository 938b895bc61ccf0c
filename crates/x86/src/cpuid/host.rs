//! What the host's own CPUID says. Spec: Intel SDM Vol. 2, "CPUID".

#[path = "host_raw.rs"]
mod host_raw;

use std::sync::OnceLock;

use super::{CpuidEntry, CpuidTable, Vendor};

/// The host processor, as its CPUID instruction describes it to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCpuid {
    pub table: CpuidTable,
}

/// Leaves whose answer depends on ECX, with the sub-leaves that are worth knowing.
const INDEXED: &[(u32, std::ops::Range<u32>)] = &[(7, 0..3), (0xd, 0..20)];

/// The component numbers of XSAVE state. Spec: Intel SDM Vol. 1, "XSAVE-Supported Features".
pub mod xsave_component {
    pub const AVX: u32 = 2;
    pub const PKRU: u32 = 9;
}

impl HostCpuid {
    /// What this process, or one that it was forked from, read first. A hypervisor that has this host
    /// answers each of a hundred questions itself, which takes a good part of a millisecond.
    #[must_use]
    pub fn known() -> HostCpuid {
        static KNOWN: OnceLock<HostCpuid> = OnceLock::new();
        KNOWN.get_or_init(HostCpuid::read).clone()
    }

    /// Asks the processor that runs this thread.
    #[must_use]
    pub fn read() -> HostCpuid {
        let mut entries = Vec::new();
        for first in [0, 0x4000_0000, 0x8000_0000] {
            let last = host_raw::cpuid(first, 0).eax;
            // A host without such leaves answers with something of the highest basic leaf.
            let last = if (first..first + 0x40).contains(&last) {
                last
            } else {
                continue;
            };
            for leaf in first..=last {
                match INDEXED.iter().find(|(indexed, _)| *indexed == leaf) {
                    Some((_, subleaves)) => entries.extend(subleaves.clone().map(|subleaf| {
                        let entry = host_raw::cpuid(leaf, subleaf);
                        CpuidEntry {
                            indexed: true,
                            ..entry
                        }
                    })),
                    None => entries.push(host_raw::cpuid(leaf, 0)),
                }
            }
        }
        HostCpuid {
            table: CpuidTable { entries },
        }
    }

    /// Does the host call itself AMD (or Hygon, which is one)?
    #[must_use]
    pub fn is_amd(&self) -> bool {
        let amd = u32::from_le_bytes(*b"Auth");
        let hygon = u32::from_le_bytes(*b"Hygo");
        self.table
            .find(0, 0)
            .is_some_and(|entry| entry.ebx == amd || entry.ebx == hygon)
    }

    /// Whose processor the host's is, as far as guests can tell a difference.
    #[must_use]
    pub fn vendor(&self) -> Vendor {
        if self.is_amd() {
            Vendor::Amd
        } else {
            Vendor::Intel
        }
    }

    /// Width of a physical address, in bits.
    #[must_use]
    pub fn physical_bits(&self) -> u32 {
        let told = self
            .table
            .find(0x8000_0008, 0)
            .map_or(36, |entry| entry.eax & 0xff);
        told.clamp(36, 52)
    }

    /// Is from now on as if its physical addresses had at most `bits`.
    pub fn limit_physical_bits(&mut self, bits: u32) {
        let bits = bits.clamp(36, 52).min(self.physical_bits());
        let entries = self.table.entries.iter_mut();
        for entry in entries.filter(|entry| entry.leaf == 0x8000_0008) {
            entry.eax = entry.eax & !0xff | bits;
        }
    }

    /// The TSC's frequency where CPUID tells it exactly: the crystal's ratio, or what a hypervisor
    /// under us says.
    #[must_use]
    pub fn tsc_khz(&self) -> Option<u32> {
        let crystal = self.table.find(0x15, 0).and_then(|entry| {
            let hz = u64::from(entry.ecx) * u64::from(entry.ebx);
            let khz = hz.checked_div(u64::from(entry.eax))? / 1000;
            u32::try_from(khz).ok().filter(|&khz| khz != 0)
        });
        let hypervisor = || {
            let entry = self.table.find(0x4000_0010, 0)?;
            Some(entry.eax).filter(|&khz| khz != 0)
        };
        crystal.or_else(hypervisor)
    }

    /// Offset of an extended component in the standard form of the XSAVE area, and its size, in
    /// bytes; `None` where the host has no such component.
    #[must_use]
    pub fn xsave_component(&self, component: u32) -> Option<(u32, u32)> {
        let supported = self.table.find(0xd, 0)?.eax & (1 << component) != 0;
        let entry = self.table.find(0xd, component).filter(|_| supported)?;
        Some((entry.ebx, entry.eax)).filter(|&(offset, size)| offset >= 576 && size != 0)
    }
}
