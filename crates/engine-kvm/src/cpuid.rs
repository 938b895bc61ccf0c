//! A vCPU's CPUID: what the model says and KVM supports.
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_GET_SUPPORTED_CPUID", "KVM_SET_CPUID2".

use engine::EngineError;
use kvm_bindings::{
    CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2,
};
use kvm_ioctls::{Cap, Kvm};
use x86::cpuid::{CpuidEntry, CpuidTable, Feature, feature};

use crate::host;

/// What KVM can offer a guest on this host, as it tells it.
pub(crate) fn supported(kvm: &Kvm) -> Result<CpuidTable, EngineError> {
    let list = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(host("cannot read the CPUID that KVM supports"))?;
    let entries = list.as_slice().iter().map(|entry| CpuidEntry {
        leaf: entry.function,
        subleaf: entry.index,
        indexed: entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0,
        eax: entry.eax,
        ebx: entry.ebx,
        ecx: entry.ecx,
        edx: entry.edx,
    });
    Ok(CpuidTable {
        entries: entries.collect(),
    })
}

/// Bits that KVM makes itself but that older kernels do not list, because they hold only with the
/// in-kernel interrupt controllers, or are user space's to promise.
const UNLISTED: &[Feature] = &[
    feature::APIC,
    feature::X2APIC,
    feature::ARAT,
    feature::HYPERVISOR,
    feature::INVARIANT_TSC,
];

/// `wanted`, less what this KVM cannot.
pub(crate) fn filter(kvm: &Kvm, wanted: &CpuidTable, supported: &CpuidTable) -> CpuidTable {
    let deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    let mut table = wanted.clone();
    table.intersect(|feature| {
        supported.has(feature)
            || UNLISTED.contains(&feature)
            || (deadline && feature == feature::TSC_DEADLINE)
    });
    table
}

/// As KVM_SET_CPUID2 takes it.
pub(crate) fn to_kvm(table: &CpuidTable) -> Result<CpuId, EngineError> {
    let entries: Vec<_> = table
        .entries
        .iter()
        .map(|entry| kvm_cpuid_entry2 {
            function: entry.leaf,
            index: entry.subleaf,
            flags: if entry.indexed {
                KVM_CPUID_FLAG_SIGNIFCANT_INDEX
            } else {
                0
            },
            eax: entry.eax,
            ebx: entry.ebx,
            ecx: entry.ecx,
            edx: entry.edx,
            ..kvm_cpuid_entry2::default()
        })
        .collect();
    CpuId::from_entries(&entries).map_err(|_| EngineError::State {
        what: "a CPUID table of so many entries".to_owned(),
    })
}
