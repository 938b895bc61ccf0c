use super::{ELSEWHERE, OF_ZERO, WAYS, empty, salt_of, slot};
use crate::mmu::spaces::NUMBERS;

const ADDRESSES: [u64; 5] = [0, ELSEWHERE, 0x40_1000, 0x7fff_f123_4567, u64::MAX];

#[test]
fn the_number_of_a_space_is_mixed_into_slots() {
    for space in 0..NUMBERS {
        let salt = salt_of(u16::try_from(space).expect("a number"));
        for rip in ADDRESSES {
            assert_eq!(slot(salt, rip), slot(0, rip) ^ (space * WAYS), "{rip:#x}");
        }
    }
}

#[test]
fn empty_entries_are_never_looked_up() {
    // By the test above, these are all slots that the two tags are looked up in.
    assert_eq!(slot(0, 0) / OF_ZERO, 0);
    assert_ne!(slot(0, ELSEWHERE) / OF_ZERO, 0);
    assert_eq!(empty(OF_ZERO - 1).tag, ELSEWHERE);
    assert_eq!(empty(OF_ZERO).tag, 0);
}
