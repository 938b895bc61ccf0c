use super::*;

/// A host of which nothing is known but its vendor and a few features.
fn host(vendor: &[u8; 12], features: &[Feature]) -> HostCpuid {
    let word = |at: usize| {
        u32::from_le_bytes([vendor[at], vendor[at + 1], vendor[at + 2], vendor[at + 3]])
    };
    let mut entries = vec![CpuidEntry {
        ebx: word(0),
        edx: word(4),
        ecx: word(8),
        ..CpuidEntry::default()
    }];
    for leaf in [1, 6, 0x8000_0001, 0x8000_0007] {
        entries.push(CpuidEntry {
            leaf,
            ..CpuidEntry::default()
        });
    }
    for (leaf, subleaf) in [(7, 0), (7, 1), (7, 2), (0xd, 0), (0xd, 1)] {
        entries.push(CpuidEntry {
            leaf,
            subleaf,
            indexed: true,
            ..CpuidEntry::default()
        });
    }
    entries.push(CpuidEntry {
        leaf: 0x8000_0008,
        eax: 0x3930,
        ..CpuidEntry::default()
    });
    let mut table = CpuidTable { entries };
    features.iter().for_each(|&feature| table.add(feature));
    HostCpuid { table }
}

fn full_host() -> HostCpuid {
    host(b"GenuineIntel", feature::ALL)
}

const PARAMS: VcpuParams = VcpuParams {
    id: 2,
    count: 4,
    tsc_khz: 2_600_000,
};

fn table_of(name: &str) -> CpuidTable {
    table(model(name).unwrap(), &full_host(), &PARAMS)
}

#[test]
fn default_model_says_who_it_is() {
    let table = table_of(DEFAULT_MODEL);
    let leaf_0 = table.find(0, 0).unwrap();
    assert_eq!(
        (leaf_0.eax, leaf_0.ebx),
        (0x1f, u32::from_le_bytes(*b"Genu"))
    );
    assert_eq!(table.find(1, 0).unwrap().eax, 0x000f_0601);
    let brand: Vec<u8> = (0x8000_0002..=0x8000_0004)
        .filter_map(|leaf| table.find(leaf, 0))
        .flat_map(|e| [e.eax, e.ebx, e.ecx, e.edx])
        .flat_map(u32::to_le_bytes)
        .collect();
    assert_eq!(brand.len(), 48);
    assert!(brand.starts_with(b"Innkeeper Virtual CPU\0"));
}

#[test]
fn default_model_has_these_golden_leaves() {
    let table = table_of(DEFAULT_MODEL);
    let leaf_1 = table.find(1, 0).unwrap();
    assert_eq!(leaf_1.ebx, 0x0204_0800);
    assert_eq!(leaf_1.ecx, 0xf7fa_3203);
    assert_eq!(leaf_1.edx, 0x1f8b_fbff);
    let leaf_7 = table.find(7, 0).unwrap();
    assert_eq!((leaf_7.eax, leaf_7.ebx, leaf_7.ecx), (2, 0x209c_27eb, 0xc));
    assert_eq!(leaf_7.edx, 0x2400_0010);
    assert_eq!(table.find(7, 2).unwrap().edx, 0x10);
    let extended = table.find(0x8000_0001, 0).unwrap();
    assert_eq!((extended.ecx, extended.edx), (0x121, 0x2c10_0800));
    assert_eq!(table.find(0x4000_0001, 0).unwrap().eax, 0x0100_000b);
    assert_eq!(table.find(0xd, 0).unwrap().eax, 0x207);
}

#[test]
fn dynamic_bits_are_left_to_the_engine() {
    for model in models() {
        let table = table(model, &full_host(), &PARAMS);
        assert_eq!(
            table.find(1, 0).unwrap().ecx & (1 << 27),
            0,
            "OSXSAVE of {}",
            model.name
        );
        assert_eq!(
            table.find(7, 0).unwrap().ecx & (1 << 4),
            0,
            "OSPKE of {}",
            model.name
        );
    }
}

#[test]
fn what_the_host_lacks_is_not_offered() {
    let bare = host(b"GenuineIntel", &[feature::SSE3]);
    let table = table(model(DEFAULT_MODEL).unwrap(), &bare, &PARAMS);
    assert!(table.has(feature::SSE3) && table.has(feature::SMEP) && table.has(feature::XSAVE));
    for feature in [feature::AVX, feature::AVX2, feature::FMA, feature::AES] {
        assert!(!table.has(feature), "{}", feature.name);
    }
    assert_eq!(table.xcr0_mask(), 0x203);
    assert!(table.find(0xd, xsave_component::AVX).is_none());
}

#[test]
fn nothing_is_offered_without_what_it_stands_on() {
    let mut table = table_of("host");
    assert_eq!(table.find(0xd, 0).unwrap().ecx, 840);
    table.intersect(|feature| feature != feature::XSAVE);
    for feature in [
        feature::AVX,
        feature::AVX2,
        feature::FMA,
        feature::PKU,
        feature::XSAVEOPT,
    ] {
        assert!(!table.has(feature), "{}", feature.name);
    }
    let leaf = table.find(0xd, 0).unwrap();
    assert_eq!((leaf.eax, leaf.ebx, leaf.ecx), (0, 0, 0));
}

#[test]
fn every_leaf_below_the_last_that_a_feature_needs_is_there() {
    for model in models() {
        let table = table(model, &full_host(), &PARAMS);
        for &feature in model.features.iter().copied().flatten() {
            let found = table.find(feature.leaf, feature.subleaf).is_some();
            assert!(found, "{}: no leaf for {}", model.name, feature.name);
        }
        for component in (2..63).filter(|bit| table.xcr0_mask() & (1 << bit) != 0) {
            let entry = table.find(0xd, component).unwrap();
            assert!(entry.eax != 0 && entry.ebx >= 576);
        }
        let mut keys: Vec<_> = table.entries.iter().map(|e| (e.leaf, e.subleaf)).collect();
        keys.dedup();
        assert_eq!(
            keys.len(),
            table.entries.len(),
            "{} has a leaf twice",
            model.name
        );
    }
}

#[test]
fn topology_names_each_vcpu() {
    let table = table_of(DEFAULT_MODEL);
    for leaf in [0xb, 0x1f] {
        assert!((0..3).all(|subleaf| table.find(leaf, subleaf).unwrap().edx == 2));
        let cores = table.find(leaf, 1).unwrap();
        assert_eq!((cores.eax, cores.ebx, cores.ecx), (2, 4, 0x201));
    }
}

#[test]
fn tsc_frequency_is_told_within_a_millionth() {
    for tsc_khz in [
        1_000_000, 1_800_000, 2_595_123, 2_600_000, 3_399_998, 4_200_001,
    ] {
        let params = VcpuParams { tsc_khz, ..PARAMS };
        let table = table(model(DEFAULT_MODEL).unwrap(), &full_host(), &params);
        let e = table.find(0x15, 0).unwrap();
        // As Linux computes it, in 32 bits.
        let khz = (e.ecx / 1000)
            .checked_mul(e.ebx)
            .expect("guests multiply in 32 bits")
            / e.eax;
        assert!(
            khz.abs_diff(tsc_khz) <= tsc_khz / 500_000,
            "{khz} for {tsc_khz}"
        );
        assert_eq!(table.find(0x4000_0010, 0).unwrap().eax, tsc_khz);
    }
}

#[test]
fn amd_hosts_get_an_amd_like_guest() {
    let table = table(
        model(DEFAULT_MODEL).unwrap(),
        &host(b"AuthenticAMD", feature::ALL),
        &PARAMS,
    );
    assert_eq!(table.find(0, 0).unwrap().ecx, u32::from_le_bytes(*b"cAMD"));
    assert!(!table.has(feature::ARCH_CAPABILITIES) && !table.has(feature::SPEC_CTRL));
    assert!(table.has(feature::amd::SRSO_NO));
    assert_eq!(table.find(0x8000_0008, 0).unwrap().ecx, 0x2003);
}

#[test]
fn models_are_named_and_unknown_ones_refused_with_the_list() {
    assert_eq!(models()[0].name, DEFAULT_MODEL);
    let error = model("pentium").unwrap_err().to_string();
    assert!(
        error.contains("\"pentium\"") && error.contains("x86-64-v3"),
        "{error}"
    );
}

#[test]
fn a_host_can_be_taken_for_one_with_fewer_addresses() {
    let mut host = host(b"GenuineIntel", feature::ALL);
    let bits = host.physical_bits();
    host.limit_physical_bits(52);
    assert_eq!(host.physical_bits(), bits);
    host.limit_physical_bits(37);
    let table = table(model(DEFAULT_MODEL).unwrap(), &host, &PARAMS);
    assert_eq!(table.find(0x8000_0008, 0).unwrap().eax & 0xff, 37);
}

#[test]
fn the_real_host_can_be_read() {
    let host = HostCpuid::read();
    let table = table(model("host").unwrap(), &host, &PARAMS);
    assert!(table.has(feature::LM) && table.has(feature::SSE2));
    assert!((36..=52).contains(&host.physical_bits()));
}
