use super::super::{GuestMemory, MemoryPlan, RamRange};
use crate::{Gpa, Lines, PageKind, news};

fn range(base: u64, len: u64) -> RamRange {
    RamRange {
        base: Gpa(base),
        len,
    }
}

#[test]
fn pieces_are_as_long_as_their_kind() {
    let memory = GuestMemory::planned(&MemoryPlan {
        ram: &[range(0, 0x10_0000), range(0x20_0000, 0x1000)],
        rom: Some(range(0xffff_0000, 0x1_0000)),
        pluggable: None,
    })
    .unwrap();
    memory.set_kind(range(0xc_0000, 0x4000), PageKind::Rom);
    memory.set_kind(range(0xc_1000, 0x1000), PageKind::Hidden);
    let wanted = [
        (range(0, 0xc_0000), PageKind::Ram),
        (range(0xc_0000, 0x1000), PageKind::Rom),
        (range(0xc_1000, 0x1000), PageKind::Hidden),
        (range(0xc_2000, 0x2000), PageKind::Rom),
        (range(0xc_4000, 0x3_c000), PageKind::Ram),
        (range(0x20_0000, 0x1000), PageKind::Ram),
        (range(0xffff_0000, 0x1_0000), PageKind::Rom),
    ];
    assert_eq!(memory.kinds(), wanted);
    assert_eq!(memory.ranges().len(), 2);
}

#[test]
fn what_is_no_ram_is_never_written_directly() {
    let memory = GuestMemory::new(&[range(0, 0x10_0000)]).unwrap();
    let bell = memory.add_bell();
    let page = memory.host_page(Gpa(0xf_0000)).unwrap();
    assert_eq!(page.tracker.claim(page.index), Lines::NONE);
    memory.set_kind(range(0xf_0000, 0x1_0000), PageKind::Rom);
    assert_eq!(page.tracker.claim(page.index), Lines::ALL);
    assert_eq!(bell.answer() & news::MAP, news::MAP);
}
