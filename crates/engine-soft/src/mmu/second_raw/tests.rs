use super::{SLOTS, slot};
use crate::mmu::spaces::{GLOBAL, NUMBERS};

#[test]
fn the_pages_of_any_aligned_range_are_apart() {
    for base in [0u64, 0x7fff_f400_0000, 0xffff_8880_0400_0000] {
        let mut taken = vec![false; SLOTS];
        for page in 0..SLOTS as u64 {
            let slot = slot((base + (page << 12)) | 5);
            assert!(!std::mem::replace(&mut taken[slot], true));
        }
    }
}

#[test]
fn a_page_has_a_place_of_its_own_in_each_space() {
    let page = 0x7f12_3456_7000;
    let numbers = (1..NUMBERS as u64).chain([GLOBAL]);
    let mut slots: Vec<usize> = numbers.map(|number| slot(page | number)).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), NUMBERS);
}
