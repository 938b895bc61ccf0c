use super::{HUGE_SHIFT, LARGE_SHIFT, LargeSeen};

#[test]
fn a_large_page_is_known_in_all_of_its_piece_and_not_beside() {
    let mut seen = LargeSeen::none();
    let at = 0x7f12_3440_0000;
    seen.note(at + 0x12_3000, false);
    assert_eq!(seen.shift_at(at), Some(LARGE_SHIFT));
    assert_eq!(seen.shift_at(at + 0x3f_ffff), Some(LARGE_SHIFT));
    assert_eq!(seen.shift_at(at + 0x40_0000), None);
    assert_eq!(seen.shift_at(at - 1), None);
    seen.clear();
    assert_eq!(seen.shift_at(at), None);
}

#[test]
fn a_huge_page_is_known_wherever_it_was_touched() {
    let mut seen = LargeSeen::none();
    seen.note(0xffff_8880_1234_5000, true);
    assert_eq!(seen.shift_at(0xffff_8880_3fff_f000), Some(HUGE_SHIFT));
    assert_eq!(seen.shift_at(0xffff_8880_4000_0000), None);
}
