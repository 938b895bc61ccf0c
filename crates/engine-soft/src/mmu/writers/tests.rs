use super::{Slots, Writer, Writers};

fn slots(n: usize) -> Slots {
    Slots {
        first: n % 1024,
        second: n % 16384,
    }
}

const NONE: Writer = Writer::Known([None, None]);

#[test]
fn a_writer_is_remembered_until_it_is_taken() {
    let mut writers = Writers::none(4);
    let (one, two) = (slots(0), slots(16383));
    writers.note(1, one, |_| true);
    writers.note(1, one, |_| true);
    writers.note(2, two, |_| true);
    writers.note(2, one, |_| true);
    writers.note(2, two, |_| true);
    writers.note(2, one, |_| true);
    assert_eq!(writers.take(0), Writer::Nobody);
    assert_eq!(writers.take(1), Writer::Known([Some(one), None]));
    assert_eq!(writers.take(1), Writer::Nobody);
    assert_eq!(writers.take(2), Writer::Known([Some(two), Some(one)]));
}

#[test]
fn many_are_many_until_they_are_taken() {
    let mut writers = Writers::none(4);
    for n in [5, 6, 7, 5] {
        writers.note(3, slots(n), |_| true);
    }
    assert_eq!(writers.take(3), Writer::Many);
    writers.note(3, slots(8), |_| true);
    assert_eq!(writers.take(3), Writer::Known([Some(slots(8)), None]));
}

#[test]
fn a_page_beyond_the_region_is_nobodys() {
    let mut writers = Writers::none(4);
    writers.note(4, slots(1), |_| true);
    assert_eq!(writers.take(4), Writer::Nobody);
}

#[test]
fn a_past_write_is_remembered_but_is_nobodys() {
    let mut writers = Writers::none(4);
    writers.note_past(0);
    assert_eq!(writers.take(0), NONE);
    writers.note_past(1);
    writers.note(1, slots(3), |_| true);
    writers.note_past(1);
    assert_eq!(writers.take(1), Writer::Known([Some(slots(3)), None]));
    writers.note(2, slots(4), |_| true);
    writers.note_past(3);
    let mut all = Vec::new();
    writers.take_all(|page| all.push(page));
    assert_eq!(all, [2, 3]);
    assert_eq!(writers.take(2), Writer::Nobody);
}

#[test]
fn places_that_are_gone_are_forgotten() {
    let mut writers = Writers::none(4);
    writers.note(0, slots(1), |_| true);
    writers.note(0, slots(2), |_| true);
    writers.note(0, slots(3), |other| other != slots(1));
    writers.note(0, slots(4), |other| other != slots(2));
    assert_eq!(
        writers.take(0),
        Writer::Known([Some(slots(3)), Some(slots(4))])
    );
    writers.note(0, slots(1), |_| true);
    writers.note(0, slots(2), |_| true);
    writers.note(0, slots(3), |_| false);
    assert_eq!(writers.take(0), Writer::Known([Some(slots(3)), None]));
}
