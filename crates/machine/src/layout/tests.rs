use memory::Gpa;

use super::{
    GIB, HIGH_RAM, LOW_RAM_LIMIT, MIB, MapKind, low_ram_end, memory_map, pci_window_64, ram_ranges,
};

#[test]
fn ram_beyond_three_gib_continues_at_four() {
    let ranges = ram_ranges(5 * GIB);
    assert_eq!(ranges.len(), 3);
    assert_eq!(low_ram_end(&ranges), LOW_RAM_LIMIT);
    assert_eq!(ranges[2].base, HIGH_RAM);
    assert_eq!(ranges[2].len, 2 * GIB);
    assert_eq!(pci_window_64(&ranges), Gpa(16 * GIB));
}

#[test]
fn the_smallest_guest_has_a_map_without_overlap() {
    for memory in [MIB, 2 * MIB, 64 * MIB, 3 * GIB, 8 * GIB] {
        let map = memory_map(&ram_ranges(memory));
        for pair in map.windows(2) {
            assert!(pair[0].base.0 + pair[0].len <= pair[1].base.0, "{pair:?}");
        }
        assert!(map.iter().all(|entry| entry.len > 0));
    }
}

#[test]
fn usable_memory_lies_in_ram() {
    let ranges = ram_ranges(4 * GIB);
    for entry in memory_map(&ranges) {
        let inside = ranges.iter().any(|range| {
            range.base <= entry.base && entry.base.0 + entry.len <= range.base.0 + range.len
        });
        assert!(inside || entry.kind == MapKind::Reserved, "{entry:?}");
    }
}
