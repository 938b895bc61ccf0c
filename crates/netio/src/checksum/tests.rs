use super::Checksum;

/// The example of RFC 1071, "Numerical Examples".
#[test]
fn the_specification_s_example() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Checksum::default().over(&bytes).partial(), 0xddf2);
    assert_eq!(Checksum::default().over(&bytes).finish(), !0xddf2);
}

#[test]
fn pieces_of_even_length_and_an_odd_tail() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1001).collect();
    let whole = Checksum::default().over(&bytes).finish();
    let pieces = Checksum::default().over(&bytes[..506]).over(&bytes[506..]);
    assert_eq!(pieces.finish(), whole);
    for (a, b) in [(1, 2), (501, 502), (300, 777), (7, 7)] {
        let parts = [&bytes[..a], &bytes[a..b], &bytes[b..]];
        assert_eq!(Checksum::default().over_parts(&parts).finish(), whole);
    }
    let by_words: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (by_words & 0xffff) + (by_words >> 16);
    assert_eq!(u32::from(!whole), folded);
}
