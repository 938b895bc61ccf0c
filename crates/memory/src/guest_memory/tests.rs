use std::fs::File;
use std::io::Write;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

use super::{GuestMemory, MemoryError, RamRange};
use crate::Gpa;

fn two_ranges() -> GuestMemory {
    let low = RamRange {
        base: Gpa(0),
        len: 0x10000,
    };
    let high = RamRange {
        base: Gpa(0x1_0000_0000),
        len: 0x2000,
    };
    GuestMemory::new(&[low, high]).expect("two ranges")
}

#[test]
fn ram_is_zeroed_and_keeps_what_is_written() {
    let memory = two_ranges();
    let at = GuestAddress(0x1_0000_0ffc);
    assert_eq!(memory.ram().read_obj::<u64>(at).expect("inside"), 0);
    memory
        .ram()
        .write_obj(0x1122_3344_5566_7788u64, at)
        .expect("inside");
    assert_eq!(
        memory.ram().read_obj::<u64>(at).expect("inside"),
        0x1122_3344_5566_7788
    );
}

#[test]
fn the_dirty_log_names_pages_by_guest_address() {
    let memory = two_ranges();
    memory.set_dirty_log(true);
    memory
        .ram()
        .write_obj(1u64, GuestAddress(0x1_0000_0ffc))
        .expect("inside");
    assert_eq!(
        memory.take_dirty_log(),
        [Gpa(0x1_0000_0000), Gpa(0x1_0000_1000)]
    );
    assert!(memory.take_dirty_log().is_empty());
}

#[test]
fn there_is_no_page_outside_ram() {
    let memory = two_ranges();
    assert!(memory.host_page(Gpa(0xffff)).is_some());
    assert!(memory.host_page(Gpa(0x10000)).is_none());
    assert!(memory.host_page(Gpa(u64::MAX)).is_none());
}

#[test]
fn unaligned_and_overlapping_ranges_are_refused() {
    let odd = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 100,
    }]);
    assert!(matches!(odd, Err(MemoryError::Unaligned { .. })));
    let a = RamRange {
        base: Gpa(0),
        len: 0x2000,
    };
    let b = RamRange {
        base: Gpa(0x1000),
        len: 0x2000,
    };
    assert!(matches!(
        GuestMemory::new(&[a, b]),
        Err(MemoryError::Layout { .. })
    ));
}

/// A file of so many bytes, each unlike its neighbours.
fn file(len: usize) -> (File, Vec<u8>) {
    let bytes: Vec<u8> = (0..len)
        .map(|n| (n * 7 + n / 251).to_le_bytes()[0])
        .collect();
    let mut file = File::from(memfd_create("file", MemfdFlags::CLOEXEC).expect("a file"));
    file.write_all(&bytes).expect("room");
    (file, bytes)
}

#[test]
fn a_file_becomes_memory_and_is_logged() {
    let (memory, (file, bytes)) = (two_ranges(), file(0x3000));
    memory.set_dirty_log(true);
    let untouched = GuestAddress(0x1_0000_0000);
    memory.ram().write_obj(7u32, untouched).expect("inside");
    let _ = memory.take_dirty_log();
    memory
        .copy_from(&file, 0x123, 0x1800, Gpa(0x1_0000_0404))
        .expect("it fits");
    let mut found = vec![0; 0x1800];
    let at = GuestAddress(0x1_0000_0404);
    memory.ram().read_slice(&mut found, at).expect("inside");
    assert_eq!(found, bytes[0x123..0x1923]);
    assert_eq!(memory.ram().read_obj::<u32>(untouched).expect("inside"), 7);
    let dirty = memory.take_dirty_log();
    assert_eq!(dirty, [Gpa(0x1_0000_0000), Gpa(0x1_0000_1000)]);
}

#[test]
fn a_file_that_ends_or_does_not_fit_is_refused() {
    let (memory, (file, _)) = (two_ranges(), file(0x1000));
    let copy = |at, len, to| memory.copy_from(&file, at, len, Gpa(to));
    assert!(copy(0, 0x1001, 0).is_err());
    assert!(copy(0x2000, 1, 0).is_err());
    assert!(copy(0, 0x1000, 0xf800).is_err());
    assert!(copy(0, 1, 0x2_0000).is_err());
    assert!(copy(0, 0x1000, 0xf000).is_ok());
}
