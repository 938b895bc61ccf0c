use memory::{Gpa, GuestMemory, RamRange};
use x86::cpuid::{CpuidEntry, CpuidTable};

use super::look_up;
use crate::cpu::Cpu;

fn entry(leaf: u32, subleaf: Option<u32>, [eax, ebx, ecx, edx]: [u32; 4]) -> CpuidEntry {
    CpuidEntry {
        leaf,
        subleaf: subleaf.unwrap_or(0),
        indexed: subleaf.is_some(),
        eax,
        ebx,
        ecx,
        edx,
    }
}

fn cpu(vendor: &[u8; 4]) -> Cpu {
    let entries = vec![
        entry(0, None, [0xb, u32::from_le_bytes(*vendor), 0, 0]),
        entry(7, Some(0), [0, 1, 2, 3]),
        entry(0xb, Some(0), [0, 1, 0x100, 5]),
        entry(0x4000_0000, None, [0x4000_0001, 7, 7, 7]),
        entry(0x8000_0000, None, [0x8000_0001, 0, 0, 0]),
        entry(0x8000_0001, None, [9, 9, 9, 9]),
    ];
    let ram = RamRange {
        base: Gpa(0),
        len: 0x1000,
    };
    let memory = GuestMemory::new(&[ram]).expect("RAM");
    Cpu::new(0, CpuidTable { entries }, memory)
}

#[test]
fn leaves_beyond_the_last_are_as_the_vendor_has_it() {
    let intel = cpu(b"Genu");
    assert_eq!(look_up(&intel, 0x99, 0).edx, 5);
    assert_eq!(look_up(&intel, 0x8000_0099, 0).edx, 5);
    let amd = cpu(b"Auth");
    assert_eq!(look_up(&amd, 0x99, 0), entry(0x99, None, [0; 4]));
}

#[test]
fn hypervisor_leaves_never_fall_back() {
    let intel = cpu(b"Genu");
    assert_eq!(look_up(&intel, 0x4000_0000, 0).ebx, 7);
    assert_eq!(look_up(&intel, 0x4000_0100, 0).edx, 0);
}

#[test]
fn missing_subleaves_are_zero_but_for_the_topology() {
    let intel = cpu(b"Genu");
    let missing = look_up(&intel, 7, 3);
    assert_eq!((missing.ebx, missing.ecx, missing.edx), (0, 0, 0));
    let level = look_up(&intel, 0xb, 3);
    assert_eq!((level.eax, level.ecx, level.edx), (0, 3, 5));
}
