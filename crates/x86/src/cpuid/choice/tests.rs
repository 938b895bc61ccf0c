use super::*;

fn intel() -> HostCpuid {
    HostCpuid {
        table: CpuidTable::default(),
    }
}

const PARAMS: VcpuParams = VcpuParams {
    id: 0,
    count: 1,
    tsc_khz: 1_000_000,
};

#[test]
fn changes_come_after_the_model() {
    let choice = CpuChoice::parse("innkeeper-v1,-x2apic,+pks", &intel()).expect("a CPU");
    let table = choice.table(&intel(), &PARAMS);
    assert!(!table.has(feature::X2APIC));
    assert!(table.has(feature::PKS));
    assert!(table.has(feature::SMEP));
}

#[test]
fn what_a_removed_feature_carries_goes_with_it() {
    let choice = CpuChoice::parse("innkeeper-v1,-pcid", &intel()).expect("a CPU");
    assert!(!choice.table(&intel(), &PARAMS).has(feature::INVPCID));
}

#[test]
fn a_vendor_may_be_chosen() {
    let choice = CpuChoice::parse("x86-64-v1,vendor=amd", &intel()).expect("a CPU");
    assert_eq!(choice.vendor, Vendor::Amd);
    let table = choice.table(&intel(), &PARAMS);
    let leaf = table.find(0, 0).expect("leaf 0");
    assert_eq!(leaf.ebx, u32::from_le_bytes(*b"Auth"));
}

#[test]
fn what_cannot_be_is_named() {
    let refused = |text| CpuChoice::parse(text, &intel()).unwrap_err().to_string();
    assert!(refused("pentium").contains("there are innkeeper-v1, host"));
    assert!(refused("").contains("no CPU model \"\""));
    assert!(refused("host,+flux").contains("\"flux\""));
    assert_eq!(
        refused("host,+avx2"),
        "the host's processor does not have avx2"
    );
    assert!(refused("host,vendor=via").contains("vendor=via"));
    assert!(refused("host,").contains("\"\""));
}
