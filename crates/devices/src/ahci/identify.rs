//! What SATA drives say of themselves beyond IDE's. Spec: ATA8-ACS, "IDENTIFY DEVICE".

use super::ata::MOST_TRIM_BLOCKS;
use crate::ide::{identify_cd, identify_disk};

/// Up to ATA8-ACS.
const VERSIONS: u16 = 0x01f0;
/// Commands that may be queued, less one.
const QUEUE: u16 = 31;
/// 1.5 and 3 Gbit/s; native queuing.
const SPEEDS: u16 = 0b110;
const QUEUING: u16 = 1 << 8;
/// Ultra DMA up to mode 5, which is in use.
const ULTRA_MODES: u16 = 0x203f;
/// In words 84 and 87: logs; writes that are on storage when they are answered.
const LOGS: u16 = 1 << 5;
const LASTING_WRITES: u16 = 1 << 6;
const TRIM: u16 = 1 << 0;
/// It does not turn.
const SOLID: u16 = 1;

fn set(bytes: &mut [u8], word: usize, value: u16) {
    bytes[word * 2..word * 2 + 2].copy_from_slice(&value.to_le_bytes());
}

fn add(bytes: &mut [u8], word: usize, value: u16) {
    let before = u16::from_le_bytes([bytes[word * 2], bytes[word * 2 + 1]]);
    set(bytes, word, before | value);
}

pub(super) fn disk(serial: &str, sectors: u64, multiple: u8) -> Vec<u8> {
    let mut words = identify_disk(serial, sectors, multiple);
    set(&mut words, 75, QUEUE);
    set(&mut words, 76, SPEEDS | QUEUING);
    set(&mut words, 80, VERSIONS);
    add(&mut words, 84, LOGS | LASTING_WRITES);
    add(&mut words, 87, LOGS | LASTING_WRITES);
    set(&mut words, 88, ULTRA_MODES);
    set(&mut words, 105, MOST_TRIM_BLOCKS);
    set(&mut words, 169, TRIM);
    set(&mut words, 217, SOLID);
    words
}

pub(super) fn cd() -> Vec<u8> {
    let mut words = identify_cd();
    set(&mut words, 76, SPEEDS);
    set(&mut words, 80, VERSIONS);
    set(&mut words, 88, ULTRA_MODES);
    words
}
