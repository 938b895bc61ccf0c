use super::*;

fn round_trip(packer: &mut Packer, data: &[u8]) -> usize {
    let mut body = Vec::new();
    packer.pack(data, &mut body);
    let mut room = vec![0; data.len()];
    unpack(Body(&body), &mut room).unwrap();
    assert_eq!(room, data);
    body.len()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn what_gets_smaller_is_sent_so_and_what_does_not_as_it_is() {
    let mut packer = Packer::new(true);
    assert!(round_trip(&mut packer, &[7; 100_000]) < 1000);
    assert_eq!(round_trip(&mut packer, &noise(10_000)), 10_004);
    // Nothing is tried for some time.
    assert_eq!(round_trip(&mut packer, &[7; 1000]), 1004);
    for _ in 0..PAUSE {
        round_trip(&mut packer, &[7; 1000]);
    }
    assert!(round_trip(&mut packer, &[7; 1000]) < 100);
    assert_eq!(round_trip(&mut Packer::new(false), &[7; 1000]), 1004);
}

#[test]
fn what_is_of_another_length_is_refused() {
    let mut body = Vec::new();
    Packer::new(true).pack(&[7; 1000], &mut body);
    for len in [0, 999, 1001] {
        assert!(unpack(Body(&body), &mut vec![0; len]).is_err());
    }
    assert!(unpack(Body(&[2, 0, 0, 0, 1]), &mut [0]).is_err());
    assert!(unpack(Body(&[]), &mut []).is_err());
}
