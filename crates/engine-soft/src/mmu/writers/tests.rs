use super::{BUCKETS, MOST, Writers};

fn pages(writers: &Writers, gpa: u64) -> Option<Vec<u64>> {
    writers.of(gpa).map(Iterator::collect)
}

#[test]
fn each_page_has_its_own_writers() {
    let other = (BUCKETS as u64 + 1) << 12;
    let mut writers = Writers::none();
    writers.note((0x1000, 0x8000), |_| false);
    writers.note((other, 0x9000), |_| false);
    writers.note((0x1000, 0x8000), |_| false);
    assert_eq!(pages(&writers, 0x1000), Some(vec![0x8000]));
    assert_eq!(pages(&writers, other), Some(vec![0x9000]));
    assert_eq!(pages(&writers, 0x2000), Some(Vec::new()));
}

#[test]
fn what_is_over_makes_room() {
    let mut writers = Writers::none();
    for n in 0..=MOST as u64 {
        writers.note((0x1000, n << 12), |pair| pair.1 == 0);
    }
    let left: Vec<u64> = (1..=MOST as u64).map(|n| n << 12).collect();
    assert_eq!(pages(&writers, 0x1000), Some(left));
}

#[test]
fn too_many_are_not_named() {
    let mut writers = Writers::none();
    for n in 0..=MOST as u64 {
        writers.note((0x1000, n << 12), |_| false);
    }
    assert_eq!(pages(&writers, 0x1000), None);
    writers.clear();
    assert_eq!(pages(&writers, 0x1000), Some(Vec::new()));
}
