use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Keyboard, Keyboards, Place};
use crate::sync::lock;

#[derive(Debug, Default)]
struct Fake {
    read: AtomicBool,
    came: Mutex<Vec<Vec<u8>>>,
}

impl Fake {
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *lock(&self.came))
    }
}

impl Keyboard for Fake {
    fn key(&self, scan_codes: &[u8]) -> Option<bool> {
        self.read
            .load(Ordering::SeqCst)
            .then(|| self.let_go(scan_codes))
    }

    fn let_go(&self, scan_codes: &[u8]) -> bool {
        lock(&self.came).push(scan_codes.to_vec());
        true
    }
}

/// One by USB that is not read, and a PC's that is.
fn keyboards() -> (Keyboards, Arc<Fake>, Arc<Fake>) {
    let (usb, pc) = (Arc::<Fake>::default(), Arc::<Fake>::default());
    pc.read.store(true, Ordering::SeqCst);
    let mut keyboards = Keyboards::default();
    keyboards.connect(Place::Pc, Arc::clone(&pc) as _);
    keyboards.connect(Place::Usb, Arc::clone(&usb) as _);
    (keyboards, usb, pc)
}

#[test]
fn a_key_goes_up_where_it_went_down() {
    const PRINT: [&[u8]; 2] = [
        &[0xe0, 0x12, 0xe0, 0x7c],
        &[0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12],
    ];
    let (mut keyboards, usb, pc) = keyboards();
    assert!(keyboards.key(&[0x1c]));
    assert!(keyboards.key(PRINT[0]));
    usb.read.store(true, Ordering::SeqCst);
    assert!(keyboards.key(&[0xe0, 0x75]));
    assert!(keyboards.key(&[0xf0, 0x1c]));
    assert!(keyboards.key(PRINT[1]));
    usb.read.store(false, Ordering::SeqCst);
    // Another key, though its code is the same but for what comes before.
    assert!(keyboards.key(&[0x75]));
    assert!(keyboards.key(&[0xe0, 0xf0, 0x75]));
    assert!(keyboards.key(&[0xf0, 0x75]));
    let of_usb: [&[u8]; 2] = [&[0xe0, 0x75], &[0xe0, 0xf0, 0x75]];
    assert_eq!(usb.take(), of_usb);
    let of_pc: [&[u8]; 6] = [
        &[0x1c],
        PRINT[0],
        &[0xf0, 0x1c],
        PRINT[1],
        &[0x75],
        &[0xf0, 0x75],
    ];
    assert_eq!(pc.take(), of_pc);
}

#[test]
fn a_key_that_repeats_elsewhere_goes_up_at_both() {
    let (mut keyboards, usb, pc) = keyboards();
    assert!(keyboards.key(&[0x1c]));
    usb.read.store(true, Ordering::SeqCst);
    assert!(keyboards.key(&[0x1c]));
    assert!(keyboards.key(&[0xf0, 0x1c]));
    for keyboard in [&usb, &pc] {
        assert_eq!(keyboard.take(), [vec![0x1c], vec![0xf0, 0x1c]]);
    }
    // Nobody holds it any more.
    assert!(keyboards.key(&[0xf0, 0x1c]));
    assert_eq!((usb.take().len(), pc.take().len()), (1, 0));
}

#[test]
fn pause_is_held_by_nobody() {
    let (mut keyboards, usb, pc) = keyboards();
    let pause = [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77];
    assert!(keyboards.key(&pause));
    usb.read.store(true, Ordering::SeqCst);
    assert!(keyboards.key(&pause));
    assert_eq!((usb.take().len(), pc.take().len()), (1, 1));
}
