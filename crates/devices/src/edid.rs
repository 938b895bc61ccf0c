//! What the monitor says of itself. Spec: VESA Enhanced EDID Standard 1.4.

/// A monitor that likes `preferred` best, in pixels, and takes what there is of older sizes.
pub(crate) fn block((width, height): (u16, u16)) -> [u8; 128] {
    let mut block = [0; 128];
    block[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    // "INN", product 1, made in 2026.
    block[8..12].copy_from_slice(&[0x25, 0xce, 0x01, 0x00]);
    block[17] = 36;
    // Version 1.4; digital, 8 bits a colour; size in centimetres at 96 dots an inch; gamma 2.2.
    let centimetres = |pixels: u16| (u32::from(pixels) * 254 / 9600).clamp(1, 255).to_le_bytes()[0];
    block[18..25].copy_from_slice(&[
        1,
        4,
        0xa5,
        centimetres(width),
        centimetres(height),
        120,
        0x06,
    ]);
    // sRGB.
    block[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // 640x480, 800x600 and 1024x768, at 60 a second.
    block[35..38].copy_from_slice(&[0x21, 0x08, 0x00]);
    // 1280x720, 1280x1024, 1600x900, 1920x1080, at 60; the other four are none.
    let standard = [(1280, 3), (1280, 2), (1600, 3), (1920, 3)];
    for place in 0..8 {
        let at = 38 + 2 * place;
        let (x, y) = standard
            .get(place)
            .map_or((1, 1), |(width, aspect): &(u16, u8)| {
                ((width / 8 - 31).to_le_bytes()[0], aspect << 6)
            });
        (block[at], block[at + 1]) = (x, y);
    }
    block[54..72].copy_from_slice(&timing(width, height));
    // The name, and which rates it takes.
    block[72..90].copy_from_slice(b"\0\0\0\xfc\0Innkeeper\n   ");
    block[90..108].copy_from_slice(&[
        0, 0, 0, 0xfd, 0, 50, 125, 15, 160, 60, 1, 10, 32, 32, 32, 32, 32, 32,
    ]);
    block[108..126].copy_from_slice(b"\0\0\0\xff\0INNKEEPER-1\n\x20");
    let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    block[127] = sum.wrapping_neg();
    block
}

/// A detailed timing at 60 frames a second, with blanking of a fixed width.
fn timing(width: u16, height: u16) -> [u8; 18] {
    const H_BLANK: u16 = 160;
    const V_BLANK: u16 = 35;
    let total = u32::from(width + H_BLANK) * u32::from(height + V_BLANK);
    // In units of 10 kHz, of 16 bits.
    let clock = u16::try_from(total * 60 / 10_000).unwrap_or(u16::MAX);
    let low = |value: u16| value.to_le_bytes()[0];
    let high = |value: u16| value.to_le_bytes()[1] & 0xf;
    let millimetres = |pixels: u16| (u32::from(pixels) * 254 / 960).to_le_bytes();
    let (wide, tall) = (millimetres(width), millimetres(height));
    let [clock_low, clock_high] = clock.to_le_bytes();
    [
        clock_low,
        clock_high,
        low(width),
        low(H_BLANK),
        high(width) << 4 | high(H_BLANK),
        low(height),
        low(V_BLANK),
        high(height) << 4 | high(V_BLANK),
        48,
        32,
        3 << 4 | 6,
        0,
        wide[0],
        tall[0],
        (wide[1] & 0xf) << 4 | tall[1] & 0xf,
        0,
        0,
        0x1e,
    ]
}
