use super::*;

/// A client's side: tiles as RFC 6143 has them, of three-byte pixels.
fn decode(mut bytes: &[u8], width: usize, height: usize) -> Vec<u32> {
    let mut picture = vec![0; width * height];
    for y in (0..height).step_by(64) {
        for x in (0..width).step_by(64) {
            let (across, down) = ((width - x).min(64), (height - y).min(64));
            let tile = decode_tile(&mut bytes, across, down);
            for (n, pixel) in tile.into_iter().enumerate() {
                picture[(y + n / across) * width + x + n % across] = pixel;
            }
        }
    }
    assert!(bytes.is_empty());
    picture
}

fn byte(bytes: &mut &[u8]) -> u8 {
    let (first, rest) = bytes.split_first().unwrap();
    *bytes = rest;
    *first
}

fn pixel(bytes: &mut &[u8]) -> u32 {
    let parts = [byte(bytes), byte(bytes), byte(bytes), 0];
    u32::from_le_bytes(parts)
}

fn length(bytes: &mut &[u8]) -> usize {
    let mut len = 1;
    loop {
        let more = byte(bytes);
        len += usize::from(more);
        if more != 255 {
            return len;
        }
    }
}

fn decode_tile(bytes: &mut &[u8], width: usize, height: usize) -> Vec<u32> {
    let total = width * height;
    let mut out = Vec::new();
    match byte(bytes) {
        0 => out.extend((0..total).map(|_| pixel(bytes))),
        1 => out = vec![pixel(bytes); total],
        count @ 2..=16 => {
            let palette: Vec<u32> = (0..count).map(|_| pixel(bytes)).collect();
            let bits = match count {
                2 => 1,
                3 | 4 => 2,
                _ => 4,
            };
            for _ in 0..height {
                let packed: Vec<u8> = (0..(width * bits).div_ceil(8))
                    .map(|_| byte(bytes))
                    .collect();
                for n in 0..width {
                    let shift = 8 - bits - n * bits % 8;
                    let index = packed[n * bits / 8] >> shift & ((1 << bits) - 1);
                    out.push(palette[usize::from(index)]);
                }
            }
        }
        128 => {
            while out.len() < total {
                let colour = pixel(bytes);
                out.extend(vec![colour; length(bytes)]);
            }
        }
        count => {
            let palette: Vec<u32> = (0..count - 128).map(|_| pixel(bytes)).collect();
            while out.len() < total {
                let index = byte(bytes);
                let len = if index < 128 { 1 } else { length(bytes) };
                out.extend(vec![palette[usize::from(index & 127)]; len]);
            }
        }
    }
    assert_eq!(out.len(), total);
    out
}

fn check(width: u32, height: u32, colour: impl Fn(u32, u32) -> u32) -> usize {
    let mut picture = Picture::default();
    picture.resize(width, height);
    for y in 0..height {
        let row: Vec<u32> = (0..width).map(|x| colour(x, y) & 0x00ff_ffff).collect();
        picture.draw(0, y, &row);
    }
    let all = Rect {
        x: 0,
        y: 0,
        width,
        height,
    };
    let bytes = zrle(&picture, all, PixelFormat::NATIVE);
    let decoded = decode(&bytes, width as usize, height as usize);
    for y in 0..height {
        let start = (y * width) as usize;
        assert_eq!(picture.row(y), &decoded[start..start + width as usize]);
    }
    bytes.len()
}

#[test]
fn a_client_sees_what_there_is() {
    // One colour, two, a few in bits, a few in runs, many in runs, noise.
    assert_eq!(check(64, 64, |_, _| 7), 4);
    check(100, 70, |x, y| (x ^ y) & 1);
    check(65, 3, |x, y| (x * 7 + y) % 3);
    check(70, 65, |x, y| (x * 31 + y * 7) % 13);
    check(64, 64, |x, y| (x / 20 + y) % 100);
    check(64, 64, |x, y| (x / 32 + y * 2) * 1000);
    check(64, 64, |x, y| (x + y * 64) * 77);
    check(64, 64, |_, y| u32::from(y == 63));
}

#[test]
fn pixels_of_a_client_that_are_small_are_whole() {
    let mut picture = Picture::default();
    picture.resize(1, 1);
    picture.draw(0, 0, &[0x00ff_0000]);
    let one = Rect {
        x: 0,
        y: 0,
        width: 1,
        height: 1,
    };
    let format = PixelFormat {
        bits: 8,
        depth: 8,
        big_endian: false,
        max: [7, 7, 3],
        shift: [0, 3, 6],
    };
    assert_eq!(zrle(&picture, one, format), [1, 7]);
    let high = PixelFormat {
        shift: [24, 16, 8],
        big_endian: true,
        ..PixelFormat::NATIVE
    };
    assert_eq!(zrle(&picture, one, high), [1, 0xff, 0, 0]);
}
