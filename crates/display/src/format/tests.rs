use super::*;

const SMALL: PixelFormat = PixelFormat {
    bits: 16,
    depth: 16,
    big_endian: true,
    max: [31, 63, 31],
    shift: [11, 5, 0],
};

#[test]
fn colours_are_scaled_and_put_where_the_client_has_them() {
    let mut picture = Picture::default();
    picture.resize(2, 1);
    picture.draw(0, 0, &[0x00ff_0000, 0x0000_ff80]);
    let all = Rect {
        x: 0,
        y: 0,
        width: 2,
        height: 1,
    };
    assert_eq!(raw(&picture, all, SMALL), [0xf8, 0x00, 0x07, 0xf0]);
    let native = raw(&picture, all, PixelFormat::NATIVE);
    assert_eq!(native, [0, 0, 0xff, 0, 0x80, 0xff, 0, 0]);
}

#[test]
fn formats_without_sense_are_none() {
    let with = |bits, max, shift| PixelFormat {
        bits,
        max,
        shift,
        ..PixelFormat::NATIVE
    };
    assert!(PixelFormat::NATIVE.checked().is_some());
    assert!(with(24, [255; 3], [16, 8, 0]).checked().is_none());
    assert!(with(32, [255; 3], [255, 8, 0]).checked().is_none());
    assert!(with(32, [200; 3], [16, 8, 0]).checked().is_none());
    assert!(with(8, [7, 7, 3], [0, 3, 6]).checked().is_some());
    assert!(with(8, [65535; 3], [0; 3]).checked().is_none());
}
