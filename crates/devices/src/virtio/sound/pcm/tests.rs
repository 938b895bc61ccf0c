use super::*;

/// What is heard of one sample of this format at both sides.
fn heard(format: u8, bytes: &[u8]) -> i16 {
    let parameters = Parameters::new(1, format, 7).unwrap();
    assert_eq!(parameters.frame_len(), bytes.len());
    let frames = parameters.frames(bytes);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0][0], frames[0][1]);
    frames[0][0]
}

#[test]
fn samples_of_every_format_are_as_loud() {
    assert_eq!(heard(4, &[0]), i16::MIN);
    assert_eq!(heard(4, &[0xc0]), 0x4000);
    assert_eq!(heard(5, &0x4001i16.to_le_bytes()), 0x4001);
    assert_eq!(heard(15, &[0xff, 0x01, 0x40, 0xff]), 0x4001);
    assert_eq!(heard(17, &(-0x4000_0000i32).to_le_bytes()), -0x4000);
    assert_eq!(heard(19, &0.5f32.to_le_bytes()), 0x4000);
}

#[test]
fn what_is_too_loud_is_as_loud_as_can_be() {
    assert_eq!(heard(19, &2.0f32.to_le_bytes()), i16::MAX);
    assert_eq!(heard(19, &f32::NEG_INFINITY.to_le_bytes()), i16::MIN);
    assert_eq!(heard(19, &f32::NAN.to_le_bytes()), 0);
}

#[test]
fn silence_is_not_heard() {
    for (number, _) in FORMATS {
        let parameters = Parameters::new(1, number, 0).unwrap();
        assert_eq!(
            heard(number, &parameters.silence(parameters.frame_len())),
            0
        );
    }
}

#[test]
fn two_channels_are_two_sides() {
    let parameters = Parameters::new(2, 5, 7).unwrap();
    // What is no whole frame is none.
    assert_eq!(parameters.frames(&[1, 0, 2, 0, 3]), [[1, 2]]);
}

#[test]
fn what_is_not_on_offer_is_refused() {
    assert_eq!(Parameters::new(2, 5, 7).map(|it| it.rate()), Some(48_000));
    for (channels, format, rate) in [(0, 5, 7), (3, 5, 7), (2, 0, 7), (2, 25, 7), (2, 5, 13)] {
        assert_eq!(Parameters::new(channels, format, rate), None);
    }
    assert_eq!(formats(), 1 << 4 | 1 << 5 | 1 << 15 | 1 << 17 | 1 << 19);
    assert_eq!(rates(), 0x1fff);
}
