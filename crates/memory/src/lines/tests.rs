use super::Lines;

#[test]
fn a_range_has_the_lines_it_touches() {
    assert_eq!(Lines::of(0, 1), Lines(1));
    assert_eq!(Lines::of(0x7f, 1), Lines(1));
    assert_eq!(Lines::of(0x7f, 2), Lines(3));
    assert_eq!(Lines::of(0x80, 0x80), Lines(2));
    assert_eq!(Lines::of(0xfff, 1), Lines(1 << 31));
    assert_eq!(Lines::of(0, 0x1000), Lines::ALL);
    assert_eq!(Lines::of(0x1234, 0), Lines::NONE);
}

#[test]
fn what_lies_beyond_the_page_does_not_count() {
    assert_eq!(Lines::of(0xffe, 8), Lines(1 << 31));
    assert_eq!(Lines::of(0x5f80, u64::MAX), Lines(1 << 31));
}
