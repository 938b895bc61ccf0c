use super::*;

const ONE: [u8; 4096] = [1; 4096];
const TWO: [u8; 4096] = [2; 4096];
const ZEROS: [u8; 4096] = [0; 4096];

#[test]
fn a_page_is_sent_when_it_is_other_than_the_target_has_it() {
    let mut known = Known::new(4);
    assert_eq!(known.how(0, &ZEROS), How::Same);
    assert_eq!(known.how(1, &ONE), How::Data);
    assert_eq!(known.how(1, &ONE), How::Same);
    assert_eq!(known.how(1, &TWO), How::Data);
    assert_eq!(known.how(1, &ZEROS), How::Zero);
    assert_eq!(known.how(1, &ZEROS), How::Same);
    // Beyond all memory nothing is known.
    assert_eq!(known.how(9, &ONE), How::Data);
}

#[test]
fn a_page_is_like_one_that_the_target_has_now() {
    let mut known = Known::new(4);
    known.how(0, &ONE);
    assert_eq!(known.how(1, &ONE), How::Like(0));
    known.how(0, &TWO);
    // Page 0 is another one there as well; page 1 was never named for its content.
    assert_eq!(known.how(2, &ONE), How::Data);
    assert_eq!(known.how(3, &ONE), How::Like(2));
}
