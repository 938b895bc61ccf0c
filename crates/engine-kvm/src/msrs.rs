//! The MSRs of a vCPU that have no field of their own in [`x86::CpuState`].
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_GET_MSR_INDEX_LIST", "KVM_GET_MSRS".
//!
//! KVM tells which MSRs hold state. A state has the ones that every engine knows, always, and any
//! other only where it is not as it was at reset; one that a state lacks is as at reset. So a guest
//! saved elsewhere does not fail here on an MSR that it never touched.

use std::collections::BTreeMap;

use engine::EngineError;
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use x86::msr;

use crate::host;

/// Those with a field in the state, those that are another's older name, and what describes the
/// host's own virtualization to a guest that is not offered it.
fn elsewhere(index: u32) -> bool {
    const VMX_CAPABILITIES: std::ops::RangeInclusive<u32> = 0x480..=0x493;
    const HYPER_V: std::ops::RangeInclusive<u32> = 0x4000_0000..=0x4000_ffff;
    matches!(
        index,
        msr::TSC
            | msr::TSC_DEADLINE
            | msr::APIC_BASE
            | msr::EFER
            | msr::FS_BASE
            | msr::GS_BASE
            | msr::KVM_WALL_CLOCK_OLD
            | msr::KVM_SYSTEM_TIME_OLD
            | msr::FEATURE_CONTROL
    ) || VMX_CAPABILITIES.contains(&index)
        || HYPER_V.contains(&index)
}

/// State that KVM keeps but does not list.
fn unlisted() -> impl Iterator<Item = u32> {
    let variable = (0..16).map(|n| msr::MTRR_PHYS_BASE0 + n);
    let fixed = [msr::MTRR_FIX_64K, 0x258, 0x259]
        .into_iter()
        .chain(0x268..=0x26f);
    variable.chain(fixed).chain([msr::MTRR_DEF_TYPE])
}

/// Always in a state.
const ARCHITECTURAL: &[u32] = &[
    msr::SYSENTER_CS,
    msr::SYSENTER_ESP,
    msr::SYSENTER_EIP,
    msr::PAT,
    msr::STAR,
    msr::LSTAR,
    msr::CSTAR,
    msr::FMASK,
    msr::KERNEL_GS_BASE,
    msr::TSC_AUX,
    msr::KVM_WALL_CLOCK,
    msr::KVM_SYSTEM_TIME,
];

/// The MSRs of one vCPU and their values at reset.
#[derive(Debug)]
pub(crate) struct MsrList {
    reset: BTreeMap<u32, u64>,
}

impl MsrList {
    /// Learns from a fresh vCPU which of the listed MSRs it has.
    pub(crate) fn of(fd: &VcpuFd, listed: &[u32]) -> Result<MsrList, EngineError> {
        let mut wanted: Vec<u32> = listed
            .iter()
            .copied()
            .chain(unlisted())
            .filter(|&index| !elsewhere(index))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        Ok(MsrList {
            reset: read_all(fd, wanted)?,
        })
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        self.reset.contains_key(&index) || elsewhere(index)
    }

    /// What belongs in a state.
    pub(crate) fn save(&self, fd: &VcpuFd) -> Result<BTreeMap<u32, u64>, EngineError> {
        let mut values = read_all(fd, self.reset.keys().copied().collect())?;
        values.retain(|index, value| {
            ARCHITECTURAL.contains(index) || self.reset.get(index) != Some(value)
        });
        Ok(values)
    }

    /// Makes the vCPU's MSRs those of a state. Only what differs is written: some cannot be, and
    /// writing others (the kvmclock ones) makes KVM write to the guest's memory.
    pub(crate) fn restore(
        &self,
        fd: &VcpuFd,
        state: &BTreeMap<u32, u64>,
    ) -> Result<(), EngineError> {
        let current = read_all(fd, self.reset.keys().copied().collect())?;
        for (&index, &reset) in &self.reset {
            let value = state.get(&index).copied().unwrap_or(reset);
            if current.get(&index) != Some(&value) {
                write(fd, index, value)?;
            }
        }
        for (&index, &value) in state {
            // Zero in an MSR that this KVM has not: nothing is lost.
            if !self.reset.contains_key(&index) && !elsewhere(index) && value != 0 {
                write(fd, index, value)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn read(fd: &VcpuFd, index: u32) -> Result<Option<u64>, EngineError> {
    Ok(read_all(fd, vec![index])?.get(&index).copied())
}

pub(crate) fn write(fd: &VcpuFd, index: u32, data: u64) -> Result<(), EngineError> {
    let entry = kvm_msr_entry {
        index,
        data,
        ..kvm_msr_entry::default()
    };
    let done = fd
        .set_msrs(&entries(&[entry])?)
        .map_err(host("cannot write an MSR"))?;
    if done == 1 {
        return Ok(());
    }
    Err(EngineError::State {
        what: format!("{data:#x} in MSR {index:#x}"),
    })
}

fn entries(list: &[kvm_msr_entry]) -> Result<Msrs, EngineError> {
    Msrs::from_entries(list).map_err(|_| EngineError::Unsupported {
        what: "so many MSRs at once",
    })
}

/// Reads those of the MSRs that can be read. KVM stops at the first that cannot.
fn read_all(fd: &VcpuFd, mut wanted: Vec<u32>) -> Result<BTreeMap<u32, u64>, EngineError> {
    let mut values = BTreeMap::new();
    while !wanted.is_empty() {
        let list: Vec<_> = wanted
            .iter()
            .map(|&index| kvm_msr_entry {
                index,
                ..kvm_msr_entry::default()
            })
            .collect();
        let mut msrs = entries(&list)?;
        let done = fd
            .get_msrs(&mut msrs)
            .map_err(host("cannot read the MSRs"))?;
        values.extend(
            msrs.as_slice()
                .iter()
                .take(done)
                .map(|entry| (entry.index, entry.data)),
        );
        wanted.drain(..(done + 1).min(list.len()));
    }
    Ok(values)
}
