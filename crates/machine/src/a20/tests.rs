use memory::{Gpa, GuestMemory, MemoryPlan, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::A20Gate;
use crate::layout::{MIN_MEMORY, ram_ranges};

#[test]
fn the_second_megabyte_is_the_first_while_the_line_is_off() {
    let rom = RamRange {
        base: Gpa(0xffff_0000),
        len: 0x1_0000,
    };
    let memory = GuestMemory::planned(&MemoryPlan {
        ram: &ram_ranges(4 << 20),
        rom: Some(rom),
        pluggable: None,
    });
    let memory = memory.expect("memory");
    let (low, high) = (GuestAddress(0x1_2345), GuestAddress(0x11_2345));
    let byte = |at| memory.ram().read_obj::<u8>(at).expect("RAM");
    memory.ram().write_obj(1u8, low).expect("RAM");
    memory.ram().write_obj(2u8, high).expect("RAM");
    let gate = A20Gate::new(memory.clone());
    gate.set(false);
    assert_eq!(byte(high), 1);
    memory.ram().write_obj(3u8, high).expect("RAM");
    gate.set(true);
    assert_eq!((byte(low), byte(high)), (3, 2));
}

#[test]
fn the_smallest_guest_has_no_second_megabyte() {
    let memory = GuestMemory::new(&ram_ranges(MIN_MEMORY)).expect("memory");
    A20Gate::new(memory).set(false);
}
