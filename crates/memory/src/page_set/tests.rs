use super::*;

#[test]
fn a_page_is_in_once() {
    let mut pages = PageSet::new(130);
    for page in [0, 63, 64, 65, 129, 64] {
        pages.insert(page);
    }
    assert_eq!((pages.len(), pages.all()), (5, 130));
    assert!(pages.contains(64) && !pages.contains(66) && !pages.contains(u64::MAX));
    assert!(pages.remove(64) && !pages.remove(64) && !pages.remove(u64::MAX));
    assert_eq!(pages.len(), 4);
}

#[test]
fn what_there_could_not_be_stays_out() {
    let mut pages = PageSet::new(65);
    for page in [65, 127, 128, u64::MAX] {
        pages.insert(page);
    }
    assert!(pages.is_empty() && pages.next(0).is_none() && pages.runs().is_empty());
}

#[test]
fn pages_are_found_in_their_order() {
    let mut pages = PageSet::new(300);
    for page in [3, 4, 5, 63, 64, 250] {
        pages.insert(page);
    }
    assert_eq!(pages.runs(), [3..6, 63..65, 250..251]);
    assert_eq!(pages.next(0), Some(3));
    assert_eq!(pages.next(5), Some(5));
    assert_eq!(pages.next(65), Some(250));
    assert_eq!(pages.next(251), None);
    assert_eq!(pages.next(u64::MAX), None);
}
