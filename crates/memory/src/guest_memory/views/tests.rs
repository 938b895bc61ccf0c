use vm_memory::{Bytes, GuestAddress};

use super::super::{GuestMemory, MemoryPlan, RamRange};
use crate::{Gpa, Lines};

const SHADOW: RamRange = RamRange {
    base: Gpa(0xf_0000),
    len: 0x1_0000,
};
const ROM: Gpa = Gpa(0xffff_0000);

fn memory() -> GuestMemory {
    let ram = [RamRange {
        base: Gpa(0),
        len: 0x20_0000,
    }];
    GuestMemory::planned(&MemoryPlan {
        ram: &ram,
        rom: Some(RamRange {
            base: ROM,
            ..SHADOW
        }),
        pluggable: None,
    })
    .unwrap()
}

fn byte(memory: &GuestMemory, at: u64) -> u8 {
    memory.ram().read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn a_range_shows_what_it_is_told_to_and_keeps_its_own() {
    let memory = memory();
    memory.write_own(Gpa(0xf_0010), &[1]).unwrap();
    memory.write_own(Gpa(ROM.0 + 0x10), &[2]).unwrap();
    assert_eq!(byte(&memory, 0xf_0010), 1);
    memory.show(SHADOW, ROM).unwrap();
    assert_eq!(byte(&memory, 0xf_0010), 2);
    let mut own = [0];
    memory.read_own(Gpa(0xf_0010), &mut own).unwrap();
    assert_eq!(own, [1]);
    memory.write_own(Gpa(0xf_0010), &[3]).unwrap();
    assert_eq!(byte(&memory, 0xf_0010), 2);
    memory.show(SHADOW, SHADOW.base).unwrap();
    assert_eq!(byte(&memory, 0xf_0010), 3);
}

#[test]
fn writes_through_one_address_show_at_the_other() {
    let memory = memory();
    let second = RamRange {
        base: Gpa(0x10_0000),
        len: 0x1000,
    };
    memory.show(second, Gpa(0)).unwrap();
    memory
        .ram()
        .write_obj(7u8, GuestAddress(0x10_0123))
        .unwrap();
    assert_eq!(byte(&memory, 0x123), 7);
}

#[test]
fn code_of_what_was_shown_is_dead() {
    let memory = memory();
    let bell = memory.add_bell();
    let page = memory.host_page(SHADOW.base).unwrap();
    let before = page.tracker.note_code(page.index, Lines(1), &bell);
    memory.show(SHADOW, ROM).unwrap();
    assert_ne!(page.tracker.generation(page.index), Some(before));
}

#[test]
fn what_is_outside_is_refused() {
    let memory = memory();
    let outside = RamRange {
        base: Gpa(0x1f_f000),
        len: 0x2000,
    };
    assert!(memory.show(outside, Gpa(0)).is_err());
    assert!(memory.show(SHADOW, Gpa(0x123)).is_err());
    assert!(memory.read_own(Gpa(0x1f_ffff), &mut [0; 2]).is_err());
}
