use std::sync::{Arc, Mutex, PoisonError};

use super::{AcpiSlots, AcpiSlotsParts, COMES, EJECT, Ejector, GOES};
use crate::Device;
use crate::testing::FakeLine;

#[derive(Debug, Default)]
struct Ejected(Mutex<Vec<u32>>);

impl Ejector for Ejected {
    fn eject(&self, slots: u32) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(slots);
    }
}

impl Ejected {
    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn device() -> (AcpiSlots, Arc<Ejected>, Arc<FakeLine>) {
    let (ejected, event) = (Arc::new(Ejected::default()), FakeLine::new());
    let parts = AcpiSlotsParts {
        ejector: Arc::clone(&ejected) as _,
        event: Arc::clone(&event) as _,
    };
    (AcpiSlots::new(parts), ejected, event)
}

#[test]
fn what_comes_is_told_once_and_seen_once() {
    let (mut slots, _, event) = device();
    slots.comes(31);
    slots.comes(9);
    assert_eq!(event.edges(), 2);
    assert_eq!(slots.read(COMES, 4), 1 << 31 | 1 << 9);
    // A byte of it; what is not written stays.
    slots.write(COMES + 1, 1, 0x02);
    assert_eq!(slots.read(COMES, 4), 1 << 31);
    assert_eq!(slots.read(GOES, 4), 0);
}

#[test]
fn what_shall_go_is_asked_for_until_it_has_gone() {
    let (mut slots, ejected, event) = device();
    slots.ask(3);
    slots.write(GOES, 4, 1 << 3);
    assert_eq!((slots.read(GOES, 4), slots.asked()), (0, 1 << 3));
    slots.ask(3);
    assert_eq!((slots.read(GOES, 4), event.edges()), (1 << 3, 2));
    slots.write(EJECT, 4, 1 << 3);
    assert_eq!(ejected.take(), [1 << 3]);
    slots.gone(1 << 3);
    assert_eq!((slots.read(GOES, 4), slots.asked()), (0, 0));
}

#[test]
fn a_guest_may_eject_what_nobody_asked_for() {
    let (mut slots, ejected, _) = device();
    slots.write(EJECT + 3, 1, 0x80);
    slots.write(EJECT, 2, 0);
    assert_eq!(ejected.take(), [1 << 31]);
    assert_eq!(slots.read(EJECT, 4), 0);
}

#[test]
fn slots_that_there_cannot_be_are_nothing() {
    let (mut slots, _, _) = device();
    slots.comes(32);
    slots.ask(255);
    assert_eq!((slots.read(COMES, 8), slots.asked()), (0, 0));
}

#[test]
fn with_a_reset_goes_what_was_to_go() {
    let (mut slots, ejected, _) = device();
    slots.comes(4);
    slots.ask(5);
    slots.reset();
    assert_eq!(ejected.take(), [1 << 5]);
    assert_eq!(slots.read(COMES, 8), 0);
}
