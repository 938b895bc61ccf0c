use super::physical_bits;
use crate::layout::GIB;

#[test]
fn addresses_are_no_wider_than_a_guest_needs() {
    assert_eq!(physical_bits(GIB / 8), 40);
    assert_eq!(physical_bits(256 * GIB), 40);
    assert_eq!(physical_bits(1024 * GIB), 41);
    assert_eq!(physical_bits(u64::MAX), 52);
}
