//! CPUID: tables of answers, the features in them, and the named CPU models they are made from.
//! Spec: Intel SDM Vol. 2, "CPUID".
//!
//! A guest sees `model AND host`: [`table`] takes a [`CpuModel`], drops the features that need
//! silicon which the host lacks, and fills the leaves around what is left. An engine over KVM then
//! intersects with what KVM supports ([`CpuidTable::intersect`]). People may ask for changes to a
//! model ([`CpuChoice`]).
//!
//! A table is fixed for the life of a vCPU. Four things in CPUID are not; the engine fills them in
//! when the guest executes the instruction:
//! * 1:ECX.OSXSAVE (bit 27) and 7.0:ECX.OSPKE (bit 4) follow CR4.OSXSAVE and CR4.PKE;
//! * 1:EDX.APIC (bit 9) follows the enable bit of `IA32_APIC_BASE`;
//! * 0Dh.0:EBX is the size of the XSAVE area for the components enabled in XCR0 now: the largest
//!   `offset + size` of them ([`CpuidTable::xsave_size`]).

mod choice;
pub mod feature;
mod host;
mod model;
mod table;

use serde::{Deserialize, Serialize};

pub use choice::{CpuChoice, InvalidCpu, Vendor, model};
use feature::Output;
pub use feature::{Feature, Needs};
pub use host::{HostCpuid, xsave_component};
pub use model::{CpuModel, DEFAULT_MODEL, models};
pub use table::{LAPIC_TIMER_HZ, VcpuParams, table};

/// What one CPUID leaf (and sub-leaf) answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidEntry {
    pub leaf: u32,
    pub subleaf: u32,
    /// The leaf answers differently by ECX.
    pub indexed: bool,
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

impl CpuidEntry {
    #[must_use]
    pub const fn output(&self, output: Output) -> u32 {
        match output {
            Output::Eax => self.eax,
            Output::Ebx => self.ebx,
            Output::Ecx => self.ecx,
            Output::Edx => self.edx,
        }
    }

    pub const fn output_mut(&mut self, output: Output) -> &mut u32 {
        match output {
            Output::Eax => &mut self.eax,
            Output::Ebx => &mut self.ebx,
            Output::Ecx => &mut self.ecx,
            Output::Edx => &mut self.edx,
        }
    }
}

/// All leaves of one vCPU.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidTable {
    pub entries: Vec<CpuidEntry>,
}

impl CpuidTable {
    /// The entry for a leaf and sub-leaf; `None` where the table has none.
    #[must_use]
    pub fn find(&self, leaf: u32, subleaf: u32) -> Option<&CpuidEntry> {
        self.entries
            .iter()
            .find(|e| e.leaf == leaf && (!e.indexed || e.subleaf == subleaf))
    }

    pub fn find_mut(&mut self, leaf: u32, subleaf: u32) -> Option<&mut CpuidEntry> {
        self.entries
            .iter_mut()
            .find(|e| e.leaf == leaf && (!e.indexed || e.subleaf == subleaf))
    }

    /// Does the table tell of this feature?
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        feature.is_in(self)
    }

    /// The components of XSAVE state that XCR0 may enable.
    #[must_use]
    pub fn xcr0_mask(&self) -> u64 {
        self.find(0xd, 0)
            .map_or(1, |e| u64::from(e.eax) | u64::from(e.edx) << 32)
    }

    /// Size in bytes of the standard-form XSAVE area for the components in `xcr0`.
    #[must_use]
    pub fn xsave_size(&self, xcr0: u64) -> u32 {
        (2..63)
            .filter(|component| xcr0 & (1 << component) != 0)
            .filter_map(|component| self.find(0xd, component))
            .map(|entry| entry.ebx.saturating_add(entry.eax))
            .fold(576, u32::max)
    }

    /// Removes every feature that is not in `supported`, and then the leaves that described it.
    pub fn intersect(&mut self, supported: impl Fn(Feature) -> bool) {
        for &feature in feature::ALL.iter().chain(feature::amd::ALL) {
            if self.has(feature) && !supported(feature) {
                self.remove(feature);
            }
        }
        table::settle(self);
    }

    fn remove(&mut self, feature: Feature) {
        if let Some(entry) = self.find_mut(feature.leaf, feature.subleaf) {
            *entry.output_mut(feature.output) &= !(1 << feature.bit);
        }
    }

    fn add(&mut self, feature: Feature) {
        if let Some(entry) = self.find_mut(feature.leaf, feature.subleaf) {
            *entry.output_mut(feature.output) |= 1 << feature.bit;
        }
    }
}

#[cfg(test)]
mod tests;
