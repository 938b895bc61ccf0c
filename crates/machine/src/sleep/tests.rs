use x86::SegmentRegister;

use super::awake_at;

#[test]
fn a_guest_wakes_at_its_vector_in_real_mode() {
    let state = awake_at(0x9_a123);
    let code = &state.segments[SegmentRegister::Cs as usize];
    assert_eq!((code.selector, code.base, state.rip), (0x9a12, 0x9_a120, 3));
    assert_eq!(state.cr0 & 1, 0);
}
