use super::*;

fn picture(width: u32, height: u32) -> Picture {
    let mut picture = Picture::default();
    picture.resize(width, height);
    picture
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect {
        x,
        y,
        width,
        height,
    }
}

#[test]
fn only_changed_tiles_are_told_and_each_once() {
    let mut it = picture(100, 70);
    let seen = it.now();
    assert_eq!(it.changed_since(0), [rect(0, 0, 100, 70)]);
    it.tick();
    it.draw(30, 5, &[7; 4]);
    assert_eq!(it.changed_since(seen), [rect(0, 0, 64, 32)]);
    let seen = it.now();
    it.tick();
    // As it was.
    it.draw(30, 5, &[7; 4]);
    assert!(it.changed_since(seen).is_empty());
}

#[test]
fn runs_below_each_other_become_one_rectangle() {
    let mut it = picture(96, 96);
    let seen = it.now();
    it.tick();
    (0..96).for_each(|y| it.draw(32, y, &[1; 32]));
    it.draw(90, 95, &[1; 6]);
    assert_eq!(
        it.changed_since(seen),
        [rect(32, 0, 32, 64), rect(32, 64, 64, 32)]
    );
}

#[test]
fn nothing_is_drawn_outside() {
    let mut it = picture(10, 10);
    it.draw(8, 9, &[5; 100]);
    it.draw(0, 10, &[5; 100]);
    it.draw(10, 0, &[5; 100]);
    assert_eq!(it.row(9)[7..], [0, 5, 5]);
    assert!(it.row(10).is_empty());
    assert_eq!(it.clip(rect(5, 5, 100, u32::MAX)), rect(5, 5, 5, 5));
    assert_eq!(it.clip(rect(50, 50, 1, 1)), rect(10, 10, 0, 0));
}

#[test]
fn a_new_size_is_a_change_of_everything_and_has_bounds() {
    let mut it = picture(10, 10);
    let seen = it.now();
    it.resize(u32::MAX, 0);
    assert!(it.resized() > seen);
    assert_eq!((it.width(), it.height()), (MAX_WIDTH, 1));
    assert_eq!(it.changed_since(seen), [rect(0, 0, MAX_WIDTH, 1)]);
}

#[test]
fn rgb_is_red_first() {
    let mut it = picture(1, 1);
    it.draw(0, 0, &[0x0011_2233]);
    assert_eq!(it.rgb(), [0x11, 0x22, 0x33]);
}
