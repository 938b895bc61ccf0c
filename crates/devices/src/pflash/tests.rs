use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{BLOCK, FlashMemory, Pflash};
use crate::Device;
use crate::ports::locked;

#[derive(Debug)]
struct Bytes {
    bytes: Mutex<Vec<u8>>,
    shown: AtomicBool,
}

impl FlashMemory for Bytes {
    fn show(&self, memory: bool) {
        self.shown.store(memory, Ordering::Relaxed);
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        let at = usize::try_from(offset).unwrap();
        into.copy_from_slice(&locked(&self.bytes)[at..at + into.len()]);
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let at = usize::try_from(offset).unwrap();
        locked(&self.bytes)[at..at + bytes.len()].copy_from_slice(bytes);
        true
    }
}

fn flash() -> (Pflash, Arc<Bytes>) {
    let bytes = Arc::new(Bytes {
        bytes: Mutex::new(vec![0xaa; 2 * 4096]),
        shown: AtomicBool::new(false),
    });
    (Pflash::new(2 * BLOCK, Arc::clone(&bytes) as _), bytes)
}

/// How OVMF finds out that it has flash: neither RAM, which keeps what is written, nor ROM.
#[test]
fn firmware_takes_it_for_flash() {
    let (mut flash, bytes) = flash();
    flash.write(7, 1, 0x50);
    assert_eq!(flash.read(7, 1) & 0xff, 0xaa);
    flash.write(7, 1, 0x70);
    assert_eq!(flash.read(7, 1) & 0xff, 0);
    assert!(!bytes.shown.load(Ordering::Relaxed));
    flash.write(7, 1, 0xff);
    assert!(bytes.shown.load(Ordering::Relaxed));
}

#[test]
fn bytes_are_programmed_and_blocks_erased() {
    let (mut flash, bytes) = flash();
    flash.write(BLOCK + 5, 1, 0x20);
    flash.write(BLOCK + 5, 1, 0xd0);
    flash.write(BLOCK + 9, 1, 0x10);
    flash.write(BLOCK + 9, 1, 0x12);
    assert_eq!(flash.read(0, 1) & 0xff, 0x80);
    flash.write(BLOCK + 9, 1, 0xff);
    let at = usize::try_from(BLOCK).unwrap();
    let seen = locked(&bytes.bytes);
    assert_eq!((seen[at - 1], seen[at], seen[at + 9]), (0xaa, 0xff, 0x12));
}

#[test]
fn words_are_programmed_together() {
    let (mut flash, bytes) = flash();
    for (offset, value) in [(0, 0xe8), (0, 1), (0, 1), (4, 2), (0, 0xd0), (0, 0xff)] {
        flash.write(offset, 4, value);
    }
    assert_eq!(locked(&bytes.bytes)[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn what_is_outside_is_refused() {
    let (mut flash, _) = flash();
    flash.write(2 * BLOCK, 1, 0x10);
    flash.write(2 * BLOCK, 1, 0);
    assert_eq!(flash.read(0, 1) & 0xff, 0xb0);
    assert_eq!(flash.read(0, 4), 0xb0b0_b0b0_b0b0_b0b0);
}
