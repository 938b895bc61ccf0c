use super::{Writer, Writers};

#[test]
fn a_writer_is_remembered_until_it_is_taken() {
    let mut writers = Writers::none(4);
    writers.note(1, 0x8000);
    writers.note(1, 0x8000);
    writers.note(2, 0);
    assert_eq!(writers.take(0), Writer::Nobody);
    assert_eq!(writers.take(1), Writer::Linear(0x8000));
    assert_eq!(writers.take(1), Writer::Nobody);
    assert_eq!(writers.take(2), Writer::Linear(0));
}

#[test]
fn several_are_several_until_they_are_taken() {
    let mut writers = Writers::none(4);
    for gla in [0x8000, 0x9000, 0x8000] {
        writers.note(3, gla);
    }
    assert_eq!(writers.take(3), Writer::Several);
    writers.note(3, 0x9000);
    assert_eq!(writers.take(3), Writer::Linear(0x9000));
}

#[test]
fn a_page_beyond_the_region_is_nobodys() {
    let mut writers = Writers::none(4);
    writers.note(4, 0x8000);
    assert_eq!(writers.take(4), Writer::Nobody);
}

#[test]
fn a_past_write_is_remembered_but_is_nobodys() {
    let mut writers = Writers::none(4);
    writers.note_past(0);
    assert_eq!(writers.take(0), Writer::Past);
    writers.note_past(1);
    writers.note(1, 0x8000);
    writers.note_past(1);
    assert_eq!(writers.take(1), Writer::Linear(0x8000));
    writers.note(2, 0x8000);
    writers.note_past(3);
    let mut all = Vec::new();
    writers.take_all(|page| all.push(page));
    assert_eq!(all, [2, 3]);
    assert_eq!(writers.take(2), Writer::Nobody);
}
