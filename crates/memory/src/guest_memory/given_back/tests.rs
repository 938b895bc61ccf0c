use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::{Bell, Gpa, GuestMemory, Lines, PAGE_SIZE, RamRange};

const MIB: u64 = 1 << 20;

fn range(base: u64, len: u64) -> RamRange {
    RamRange {
        base: Gpa(base),
        len,
    }
}

/// Two regions with a hole between them, all of it touched.
fn memory() -> GuestMemory {
    let memory = GuestMemory::new(&[range(0, MIB), range(2 * MIB, MIB)]).unwrap();
    let ones = vec![1; usize::try_from(MIB).unwrap()];
    for base in [0, 2 * MIB] {
        memory.ram().write_slice(&ones, GuestAddress(base)).unwrap();
    }
    memory
}

fn byte(memory: &GuestMemory, at: u64) -> u8 {
    memory.ram().read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn given_pages_are_the_hosts_and_read_as_zeros() {
    let memory = memory();
    assert_eq!(memory.resident(), 2 * MIB);
    // From the middle of a page of one region to that of a page of the other.
    let given = memory.discard(range(MIB / 2 - 1, 2 * MIB + 2)).unwrap();
    assert_eq!(given, MIB);
    assert_eq!(memory.resident(), MIB);
    for (at, value) in [
        (MIB / 2 - 1, 1),
        (MIB / 2, 0),
        (MIB - 1, 0),
        (2 * MIB, 0),
        (2 * MIB + MIB / 2 - 1, 0),
        (2 * MIB + MIB / 2, 1),
    ] {
        assert_eq!(byte(&memory, at), value, "at {at:#x}");
    }
}

#[test]
fn ranges_that_are_no_ram_give_nothing() {
    let memory = memory();
    for (base, len) in [
        (MIB, MIB),
        (8 * MIB, 1 << 40),
        (u64::MAX - 5, 5),
        (u64::MAX, u64::MAX),
        (1, PAGE_SIZE),
        (0, 0),
    ] {
        assert_eq!(memory.discard(range(base, len)).unwrap(), 0, "{base:#x}");
    }
    assert_eq!(memory.resident(), 2 * MIB);
    assert_eq!(memory.discard(range(0, u64::MAX)).unwrap(), 2 * MIB);
}

#[test]
fn giving_back_is_a_write_to_who_watches() {
    let memory = memory();
    let page = memory.host_page(Gpa(2 * MIB)).unwrap();
    let bell = Bell::default();
    let before = page.tracker.note_code(page.index, Lines::of(0, 16), &bell);
    memory.set_dirty_log(true);
    memory.discard(range(2 * MIB, PAGE_SIZE)).unwrap();
    assert_eq!(memory.take_dirty_log(), [Gpa(2 * MIB)]);
    assert_ne!(page.tracker.generation(page.index), Some(before));
}

#[test]
fn pointers_into_given_pages_stay_good() {
    let memory = memory();
    let before = memory.host_page(Gpa(0)).unwrap().host;
    memory.discard(range(0, MIB)).unwrap();
    assert_eq!(memory.host_page(Gpa(0)).unwrap().host, before);
    memory.ram().write_obj(7u8, GuestAddress(5)).unwrap();
    assert_eq!((byte(&memory, 5), byte(&memory, 4)), (7, 0));
    assert_eq!(memory.resident(), MIB + PAGE_SIZE);
}

#[test]
fn single_pages_that_are_handed_back_are_not_filled_again() {
    let memory = GuestMemory::new(&[range(0, 8 * MIB)]).unwrap();
    let asks = |memory: &GuestMemory| memory.huge.load(Ordering::Relaxed);
    assert!(asks(&memory));
    // As the host has them.
    let host = memory.ram().get_host_address(GuestAddress(0)).unwrap() as u64;
    let first = host.next_multiple_of(2 * MIB) - host;
    memory.discard(range(first, 4 * MIB)).unwrap();
    assert!(asks(&memory), "whole huge pages leave no gap");
    memory.discard(range(first + MIB, PAGE_SIZE)).unwrap();
    assert!(!asks(&memory));
}
