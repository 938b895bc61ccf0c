use super::{SharedTsc, TOLERANCE};

#[test]
fn jitter_is_forgiven_and_a_new_time_is_for_all() {
    let tsc = SharedTsc::new(0u64.wrapping_sub(1000));
    let own = tsc.offset();
    assert_eq!(tsc.settle(own, own.wrapping_sub(5000)), own);
    // A restored guest: the first vCPU sets the time, the second is a little late.
    let moved = 1 << 40;
    assert_eq!(tsc.settle(own, moved), moved);
    assert_eq!(tsc.settle(own, moved - 7000), moved);
    // One vCPU whose guest moved its TSC alone keeps it.
    let alone = moved + 10 * TOLERANCE;
    assert_eq!(tsc.settle(alone, alone - 3), alone);
}
