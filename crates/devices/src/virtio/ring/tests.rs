use std::sync::Arc;
use std::time::Duration;

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use crate::testing::{FakeLine, FakeMsi};
use crate::virtio::interrupts::Interrupts;
use crate::virtio::testing::{queue_state, ram, write_descriptor};
use crate::virtio::{Next, Nonsense, Ring};

fn ring(memory: &GuestMemory, event_idx: bool) -> (Ring, Arc<FakeLine>) {
    let line = FakeLine::new();
    let interrupts = Arc::new(Interrupts::new(1, FakeMsi::new(), Arc::clone(&line) as _));
    let mut ring = Ring::new(0, 16, memory.clone(), interrupts);
    let queue = queue_state(0, 16);
    for slot in 0..16u16 {
        let at = queue.descriptors + 16 * u64::from(slot);
        write_descriptor(memory, at, (0x9000, 16, 0, 0));
        let entry = GuestAddress(queue.driver + 4 + 2 * u64::from(slot));
        memory.ram().write_obj(slot, entry).unwrap();
    }
    ring.enable(&queue, event_idx).unwrap();
    (ring, line)
}

fn make_available(memory: &GuestMemory, index: u16) {
    let at = GuestAddress(queue_state(0, 16).driver + 2);
    memory.ram().write_obj(index, at).unwrap();
}

#[test]
fn draining_answers_all_and_interrupts_once() {
    let memory = ram();
    let (mut ring, line) = ring(&memory, false);
    make_available(&memory, 5);
    let mut served = 0;
    let next = ring.drain(|_| {
        served += 1;
        Ok(3)
    });
    assert_eq!((next, served), (Ok(Next::Wait), 5));
    assert_eq!(line.edges(), 1);
    assert_eq!(ring.progress(), (5, 5));
    let device = queue_state(0, 16).device;
    let used: [u16; 2] = memory.ram().read_obj(GuestAddress(device)).unwrap();
    assert_eq!(used, [0, 5], "notifications are wanted again");
}

#[test]
fn a_slow_batch_is_cut_short() {
    let memory = ram();
    let (mut ring, _) = ring(&memory, true);
    make_available(&memory, 3);
    let slow = |_: &crate::virtio::Chain| {
        std::thread::sleep(Duration::from_millis(1));
        Ok(0)
    };
    assert_eq!(ring.drain(slow), Ok(Next::Again));
    assert_eq!(ring.progress(), (1, 1));
}

#[test]
fn a_request_can_be_put_back() {
    let memory = ram();
    let (mut ring, _) = ring(&memory, false);
    make_available(&memory, 1);
    let first = ring.pop().unwrap().unwrap();
    assert!(ring.pop().unwrap().is_none());
    ring.unpop();
    assert_eq!(ring.pop().unwrap().unwrap().head(), first.head());
}

#[test]
fn indices_wrap() {
    let memory = ram();
    let (mut ring, _) = ring(&memory, false);
    let mut queue = queue_state(0, 16);
    queue.next_available = 0xfffe;
    queue.next_used = 0xfffe;
    ring.enable(&queue, false).unwrap();
    make_available(&memory, 3);
    assert_eq!(ring.drain(|_| Ok(0)), Ok(Next::Wait));
    assert_eq!(ring.progress(), (3, 3));
}

#[test]
fn an_index_that_runs_away_is_nonsense() {
    let memory = ram();
    let (mut ring, _) = ring(&memory, false);
    make_available(&memory, 17);
    assert_eq!(ring.pop().unwrap_err(), Nonsense::Ring);
}

#[test]
fn a_disabled_ring_is_empty() {
    let memory = ram();
    let (mut ring, line) = ring(&memory, false);
    make_available(&memory, 5);
    ring.disable();
    assert!(!ring.is_enabled());
    assert!(ring.pop().unwrap().is_none());
    assert_eq!(ring.drain(|_| Ok(0)), Ok(Next::Wait));
    assert_eq!((ring.progress(), line.edges()), ((0, 0), 0));
}
