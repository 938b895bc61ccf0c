use super::*;
use memory::RamRange;

fn memory() -> GuestMemory {
    GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 0x10_0000,
    }])
    .unwrap()
}

fn put(memory: &GuestMemory, entries: &[(u64, u64)]) {
    for &(at, entry) in entries {
        memory.ram().write_obj(entry, GuestAddress(at)).unwrap();
    }
}

#[test]
fn without_paging_linear_is_physical() {
    let sregs = kvm_sregs::default();
    assert_eq!(
        translate(&memory(), &sregs, Gla(0x1_1234_5678)),
        Some(Gpa(0x1234_5678))
    );
}

#[test]
fn long_mode_walks_four_or_five_levels() {
    let memory = memory();
    let no_execute = 1 << 63;
    put(
        &memory,
        &[
            (0x1000, 0x2003),
            (0x2000, 0x3003),
            (0x3008, 0x4003),
            (0x4010, 0x5003),
        ],
    );
    put(
        &memory,
        &[(0x5018, 0x6_7003 | no_execute), (0x4018, 0xc0_0083)],
    );
    let mut sregs = kvm_sregs {
        cr0: cr0::PG,
        efer: efer::LMA,
        cr3: 0x2000,
        ..kvm_sregs::default()
    };
    let small = 1 << 30 | 2 << 21 | 3 << 12 | 0x45;
    let large = 1 << 30 | 3 << 21 | 0x1_2345;
    for la57 in [0, cr4::LA57] {
        sregs.cr4 = cr4::PAE | la57;
        sregs.cr3 = if la57 == 0 { 0x2000 } else { 0x1000 };
        assert_eq!(translate(&memory, &sregs, Gla(small)), Some(Gpa(0x6_7045)));
        assert_eq!(translate(&memory, &sregs, Gla(large)), Some(Gpa(0xc1_2345)));
        assert_eq!(translate(&memory, &sregs, Gla(0)), None);
    }
}

#[test]
fn pae_has_a_table_of_four() {
    let memory = memory();
    put(
        &memory,
        &[
            (0x1020 + 3 * 8, 0x2001),
            (0x2008, 0x3003),
            (0x3010, 0x1_2345_6003),
        ],
    );
    let sregs = kvm_sregs {
        cr0: cr0::PG,
        cr4: cr4::PAE,
        cr3: 0x1020,
        ..kvm_sregs::default()
    };
    let address = 3 << 30 | 1 << 21 | 2 << 12 | 7;
    assert_eq!(
        translate(&memory, &sregs, Gla(address)),
        Some(Gpa(0x1_2345_6007))
    );
}

#[test]
fn two_levels_and_large_pages_with_high_bits() {
    let memory = memory();
    put(
        &memory,
        &[(0x1000, 0x2003 | 0x40_2083 << 32), (0x2008, 0x5003)],
    );
    let sregs = kvm_sregs {
        cr0: cr0::PG,
        cr4: cr4::PSE,
        cr3: 0x1000,
        ..kvm_sregs::default()
    };
    assert_eq!(translate(&memory, &sregs, Gla(0x2123)), Some(Gpa(0x5123)));
    assert_eq!(
        translate(&memory, &sregs, Gla(0x40_0321)),
        Some(Gpa(0x1_0040_0321))
    );
    assert_eq!(translate(&memory, &sregs, Gla(0x3000)), None);
}

#[test]
fn tables_outside_ram_map_nothing() {
    let sregs = kvm_sregs {
        cr0: cr0::PG,
        efer: efer::LMA,
        cr3: 0xffff_ffff_f000,
        ..kvm_sregs::default()
    };
    assert_eq!(translate(&memory(), &sregs, Gla(0)), None);
}
