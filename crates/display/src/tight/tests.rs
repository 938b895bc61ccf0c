use super::*;

fn of(width: u32, colour: impl Fn(u32) -> u32) -> Tight {
    let mut picture = Picture::default();
    picture.resize(width, 1);
    let row: Vec<u32> = (0..width).map(colour).collect();
    picture.draw(0, 0, &row);
    let all = Rect {
        x: 0,
        y: 0,
        width,
        height: 1,
    };
    tight(&picture, all, PixelFormat::NATIVE)
}

#[test]
fn one_colour_is_a_fill() {
    assert_eq!(of(5, |_| 0x0001_0203), Tight::Fill(vec![1, 2, 3]));
}

#[test]
fn two_colours_are_bits() {
    let Tight::Palette {
        colours,
        palette,
        indices,
    } = of(10, |x| x % 2)
    else {
        panic!("a palette is expected");
    };
    assert_eq!((colours, palette), (1, vec![0, 0, 0, 0, 0, 1]));
    assert_eq!(indices, [0b0101_0101, 0b0100_0000]);
}

#[test]
fn few_are_indices_and_many_are_whole() {
    let Tight::Palette {
        colours, indices, ..
    } = of(600, |x| x % 256)
    else {
        panic!("a palette is expected");
    };
    assert_eq!((colours, indices.len(), indices[257]), (255, 600, 1));
    let Tight::Full(bytes) = of(257, |x| x) else {
        panic!("all pixels are expected");
    };
    assert_eq!(bytes.len(), 3 * 257);
}
