use memory::Lines;

use super::Beside;
use crate::mmu::set::{CHECKED, SUPERVISOR, USER};

const GLA: u64 = 0x7f00_0000_5000;
const PAGE: (u64, u64) = (0x9000, 0x1234_0000);

fn filled() -> Beside {
    let mut beside = Beside::none();
    beside.fill(USER, GLA | 3, PAGE, Lines::of(0x100, 0x80));
    beside
}

#[test]
fn data_is_found_and_code_is_not() {
    let beside = filled();
    assert_eq!(beside.find(USER, GLA + 0x80, 8, 3), Some(0x1234_0080));
    assert_eq!(beside.find(USER, GLA + 0xf8, 8, 3), Some(0x1234_00f8));
    assert_eq!(beside.find(USER, GLA + 0xf9, 8, 3), None);
    assert_eq!(beside.find(USER, GLA + 0x17f, 1, 3), None);
    assert_eq!(beside.find(USER, GLA + 0x180, 0xe80, 3), Some(0x1234_0180));
    assert_eq!(beside.find(USER, GLA, 0x1000, 3), None);
}

#[test]
fn another_space_has_its_own() {
    let mut beside = filled();
    assert_eq!(beside.find(USER, GLA, 8, 4), None);
    beside.drop_page(GLA);
    assert_eq!(beside.find(USER, GLA, 8, 3), None);
}

#[test]
fn other_pages_other_accesses_and_crossings_are_not_found() {
    let beside = filled();
    assert_eq!(beside.find(USER, GLA + 0x1000, 8, 3), None);
    assert_eq!(beside.find(USER, GLA ^ 0x4_0000, 8, 3), None);
    assert_eq!(beside.find(SUPERVISOR, GLA, 8, 3), None);
    assert_eq!(beside.find(CHECKED, GLA, 8, 3), None);
    assert_eq!(beside.find(USER, GLA + 0xffc, 8, 3), None);
}

#[test]
fn what_was_dropped_is_gone() {
    let drops: [fn(&mut Beside); 3] = [
        Beside::clear,
        |beside| beside.drop_page(GLA + 0x123),
        |beside| beside.drop_physical(PAGE.0),
    ];
    for drop in drops {
        let mut beside = filled();
        drop(&mut beside);
        assert_eq!(beside.find(USER, GLA, 8, 3), None);
    }
    let mut beside = filled();
    beside.drop_page(GLA ^ 0x4_0000);
    beside.drop_physical(PAGE.0 + 0x1000);
    assert!(beside.find(USER, GLA, 8, 3).is_some());
}
