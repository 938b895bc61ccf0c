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
