use super::*;
use crate::{GuestMemory, RamRange};

const KIB: u64 = 1 << 10;
const AT: Gpa = Gpa(0xa_0000);

fn window() -> (GuestMemory, DeviceMemory, DeviceWindow) {
    let ranges = [RamRange {
        base: Gpa(0),
        len: 64 * KIB,
    }];
    let guest = GuestMemory::new(&ranges).unwrap();
    let memory = guest.add_device_memory(256 * KIB).unwrap();
    let window = guest.add_device_window(&memory, 128 * KIB).unwrap();
    (guest, memory, window)
}

fn part(offset: u64, len: u64) -> Part {
    Part {
        at: AT,
        offset,
        len,
    }
}

#[test]
fn it_shows_a_part_and_logs_what_is_written_there() {
    let (guest, memory, window) = window();
    assert!(guest.device_memories().placed().is_empty());
    window.show(Some(part(64 * KIB, 64 * KIB)));
    let placed = guest.device_memories().placed();
    assert_eq!((placed[0].0.base, placed[0].0.len), (AT, 64 * KIB));
    let _ = memory.take_dirty();
    window.carry();
    let _ = memory.take_dirty();
    window.pane.write(0x1ffe, &[1, 2, 3]);
    window.carry();
    assert_eq!(memory.take_dirty(), [17, 18]);
    let mut bytes = [0; 3];
    memory.read(64 * KIB + 0x1ffe, &mut bytes);
    assert_eq!(bytes, [1, 2, 3]);
    window.carry();
    assert!(memory.take_dirty().is_empty());
}

#[test]
fn another_part_comes_in_place_and_what_was_written_is_not_lost() {
    let (guest, memory, window) = window();
    memory.write(192 * KIB, b"there");
    window.show(Some(part(0, 64 * KIB)));
    let _ = memory.take_dirty();
    window.carry();
    let _ = memory.take_dirty();
    window.pane.write(0x3000, b"here");
    window.show(Some(part(192 * KIB, 64 * KIB)));
    window.carry();
    assert!(memory.take_dirty().contains(&3));
    let mut bytes = [0; 5];
    window.pane.read(0, &mut bytes);
    assert_eq!(&bytes, b"there");
    // As much as there is, and nothing else.
    window.show(Some(part(0, 128 * KIB)));
    assert_eq!(guest.device_memories().placed()[0].0.len, 128 * KIB);
    for outside in [
        part(192 * KIB, 128 * KIB),
        part(!0xfff, 64 * KIB),
        part(0, 512 * KIB),
    ] {
        window.show(Some(outside));
        assert!(guest.device_memories().placed().is_empty());
    }
    window.show(Some(part(0, 64 * KIB)));
    window.show(None);
    assert!(guest.device_memories().placed().is_empty());
}
