use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::*;
use crate::{GuestMemory, Lines, news};

const MIB: u64 = 1 << 20;

fn guest() -> GuestMemory {
    let ranges = [RamRange {
        base: Gpa(0),
        len: MIB,
    }];
    GuestMemory::new(&ranges).unwrap()
}

#[test]
fn it_is_zero_and_keeps_what_is_written() {
    let memory = guest().add_device_memory(MIB).unwrap();
    let mut bytes = [1; 4];
    memory.read(MIB - 2, &mut bytes);
    assert_eq!(bytes, [0; 4]);
    memory.write(MIB - 2, &[5, 6, 7, 8]);
    memory.read(MIB - 2, &mut bytes);
    assert_eq!(bytes, [5, 6, 0, 0]);
    memory.read(u64::MAX, &mut bytes);
    assert_eq!(bytes, [0; 4]);
}

#[test]
fn its_log_names_each_written_page_once_and_all_at_first() {
    let memory = guest().add_device_memory(MIB).unwrap();
    assert_eq!(memory.take_dirty().len(), 256);
    assert!(memory.take_dirty().is_empty());
    memory.write(0x1fff, &[1, 2]);
    assert_eq!(memory.take_dirty(), [1, 2]);
    assert!(memory.take_dirty().is_empty());
}

#[test]
fn vcpus_hear_that_it_moved_and_that_its_pages_were_taken() {
    let guest = guest();
    let bell = guest.add_bell();
    let memory = guest.add_device_memory(MIB).unwrap();
    memory.place(Some(Gpa(0xc000_0000)));
    assert_eq!(bell.answer() & news::MOVED, news::MOVED);
    memory.place(Some(Gpa(0xc000_0000)));
    assert_eq!(bell.word().load(Ordering::Relaxed), 0);
    let _ = memory.take_dirty();
    bell.answer();
    let _ = bell.take_unplain();
    memory.write(0x3000, &[1]);
    let _ = memory.take_dirty();
    assert_eq!(bell.answer() & news::UNPLAIN, news::UNPLAIN);
    let named = crate::Named::Pages(vec![Gpa(0xc000_3000)]);
    assert_eq!(bell.take_unplain(), named);
}

#[test]
fn code_in_it_dies_when_it_moves() {
    let guest = guest();
    let bell = guest.add_bell();
    let memory = guest.add_device_memory(MIB).unwrap();
    let tracker = memory.first_page().unwrap().tracker;
    let generation = tracker.note_code(3, Lines::ALL, &bell);
    memory.place(Some(Gpa(0xc000_0000)));
    assert_ne!(tracker.generation(3), Some(generation));
    assert_eq!(tracker.guarded(3), Lines::NONE);
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(usize, Option<u64>)>>);

impl Placement for Heard {
    fn placed(&self, number: usize, memory: &DeviceMemory) {
        let base = memory.range().map(|range| range.base.0);
        self.0.lock().unwrap().push((number, base));
    }

    fn sync_dirty(&self, _number: usize, memory: &DeviceMemory) {
        memory.write(0x5000, &[1]);
    }
}

#[test]
fn an_engine_with_a_map_of_its_own_is_told() {
    let guest = guest();
    let heard = Arc::new(Heard::default());
    guest.device_memories().listen(Arc::clone(&heard) as _);
    let first = guest.add_device_memory(MIB).unwrap();
    let second = guest.add_device_memory(MIB).unwrap();
    second.place(Some(Gpa(0xd000_0000)));
    second.place(None);
    assert_eq!(
        *heard.0.lock().unwrap(),
        [(1, Some(0xd000_0000)), (1, None)]
    );
    assert!(guest.device_memories().placed().is_empty());
    let _ = first.take_dirty();
    assert_eq!(first.take_dirty(), [5]);
}
