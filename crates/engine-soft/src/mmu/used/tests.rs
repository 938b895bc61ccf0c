use super::*;

fn slots(used: &mut Used) -> Vec<usize> {
    let mut seen = Vec::new();
    used.retain(|slot| {
        seen.push(slot);
        true
    });
    seen
}

#[test]
fn what_was_noted_is_shown_once() {
    let mut used = Used::none(128);
    for slot in [127, 0, 63, 64, 0] {
        used.note(slot, false);
    }
    assert_eq!(slots(&mut used), [0, 63, 64, 127]);
}

#[test]
fn what_is_not_kept_is_gone() {
    let mut used = Used::none(128);
    (0..128).for_each(|slot| used.note(slot, false));
    used.retain(|slot| slot % 50 == 0);
    assert_eq!(slots(&mut used), [0, 50, 100]);
}

#[test]
fn a_slot_beyond_the_last_is_nobodys() {
    let mut used = Used::none(128);
    used.note(128, false);
    assert!(slots(&mut used).is_empty());
}

#[test]
fn slots_of_a_large_table_are_found_again() {
    let mut used = Used::none(1 << 16);
    for slot in [5, 4095, 4096, 65535] {
        used.note(slot, false);
    }
    used.retain(|slot| slot != 4096);
    assert_eq!(slots(&mut used), [5, 4095, 65535]);
    used.retain(|_| false);
    assert!(slots(&mut used).is_empty());
}

#[test]
fn global_slots_are_not_shown_with_local_ones() {
    let mut used = Used::none(128);
    used.note(1, false);
    used.note(2, true);
    let mut seen = Vec::new();
    used.take_local(|slot| seen.push(slot));
    assert_eq!(seen, [1]);
    assert_eq!(slots(&mut used), [2]);
}
