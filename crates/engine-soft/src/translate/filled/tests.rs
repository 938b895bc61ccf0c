use std::collections::HashMap;

use super::{Filled, SHORT, list_of};

/// What entries are filled for.
#[derive(Default)]
struct Table(HashMap<u32, u64>);

impl Table {
    fn fill(&mut self, filled: &mut Filled, place: u32, gla: u64) {
        self.0.insert(place, gla);
        filled.note(gla, place, |place| self.0.get(&place).copied());
    }

    fn take(&self, filled: &mut Filled, gla: u64) -> Vec<u32> {
        let mut taken = Vec::new();
        filled.take_page(gla, |place| self.0.get(&place).copied(), |p| taken.push(p));
        taken.sort_unstable();
        taken.dedup();
        taken
    }
}

#[test]
fn the_entries_of_a_page_are_taken_once() {
    let (mut filled, mut table) = (Filled::none(), Table::default());
    table.fill(&mut filled, 1, 0x5010);
    table.fill(&mut filled, 2, 0x5ff0);
    table.fill(&mut filled, 2, 0x5ff0);
    table.fill(&mut filled, 3, 0x6000);
    // Another page of the same list.
    assert_eq!(list_of(0x80_4010), list_of(0x5000));
    table.fill(&mut filled, 4, 0x80_4010);
    // Another page has the place now.
    table.fill(&mut filled, 5, 0x5020);
    table.fill(&mut filled, 5, 0x8020);
    assert_eq!(table.take(&mut filled, 0x5000), [1, 2]);
    assert!(table.take(&mut filled, 0x5000).is_empty());
    assert_eq!(table.take(&mut filled, 0x8fff), [5]);
    assert_eq!(table.take(&mut filled, 0x6abc), [3]);
}

#[test]
fn lists_grow_with_what_is_there_and_no_further() {
    let (mut filled, mut table) = (Filled::none(), Table::default());
    for _ in 0..100 {
        for place in 0..2 * SHORT as u32 {
            table.fill(&mut filled, place, 0x5000 + u64::from(place));
        }
    }
    let longest = filled.lists.iter().map(Vec::capacity).max();
    assert!(longest < Some(16 * SHORT), "{longest:?}");
    assert_eq!(table.take(&mut filled, 0x5000).len(), 2 * SHORT);
}
