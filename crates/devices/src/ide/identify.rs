//! What drives say of themselves. Spec: ATA/ATAPI-6, "IDENTIFY DEVICE" and "IDENTIFY PACKET DEVICE".
#![allow(
    clippy::cast_possible_truncation,
    reason = "words take the parts of larger numbers"
)]

use super::disk::{HEADS, SECTORS};
use super::transfer::MOST_MULTIPLE;

const WORDS: usize = 256;
const MODEL_DISK: &str = "Innkeeper disk";
const MODEL_CD: &str = "Innkeeper CD-ROM";
const REVISION: &str = "1";
/// The most that 28 bits address.
const MOST_SHORT: u64 = 0x0fff_ffff;
const MOST_CYLINDERS: u64 = 16383;

const LBA_AND_DMA: u16 = 0x0300;
/// Words 54 to 58, 64 to 70 and 88 are valid.
const VALID: u16 = 0b111;
const MULTIWORD_MODES: u16 = 0b111;
/// All, of which mode 2 is in use.
const MULTIWORD_IN_USE: u16 = 0x0407;
const PIO_MODES: u16 = 0b11;
const NANOSECONDS: u16 = 120;
/// ATA/ATAPI-4 to 6.
const VERSIONS: u16 = 0x0070;
/// Ultra DMA up to mode 2, which a PIIX3's successor has.
const ULTRA_MODES: u16 = 0x0007;
/// In words 83 and 84: they say something.
const SAYS: u16 = 1 << 14;
const FLUSHES: u16 = 1 << 12;
const FLUSHES_LONG: u16 = 1 << 13;
const LONG_ADDRESSES: u16 = 1 << 10;
const WRITE_CACHE: u16 = 1 << 5;

struct Words([u16; WORDS]);

impl Words {
    /// Two characters a word, the first in its upper half, padded with blanks.
    fn text(&mut self, first: usize, words: usize, text: &str) {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for word in &mut self.0[first..first + words] {
            let pair = [bytes.next(), bytes.next()].map(|byte| byte.unwrap_or(b' '));
            *word = u16::from_be_bytes(pair);
        }
    }

    fn long(&mut self, first: usize, value: u32) {
        self.0[first] = value as u16;
        self.0[first + 1] = (value >> 16) as u16;
    }

    fn common(&mut self, serial: &str, model: &str) {
        self.text(10, 10, serial);
        self.text(23, 4, REVISION);
        self.text(27, 20, model);
        self.0[49] = LBA_AND_DMA;
        self.0[53] = VALID;
        self.0[63] = MULTIWORD_IN_USE;
        self.0[64] = PIO_MODES;
        for word in &mut self.0[65..=68] {
            *word = NANOSECONDS;
        }
        self.0[80] = VERSIONS;
        self.0[88] = ULTRA_MODES;
        debug_assert_eq!(self.0[63] & 0xff, MULTIWORD_MODES);
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// Of a disk of so many sectors. `multiple` is as READ MULTIPLE was set.
pub(crate) fn disk(serial: &str, sectors: u64, multiple: u8) -> Vec<u8> {
    let cylinders = (sectors / (HEADS * SECTORS)).min(MOST_CYLINDERS);
    let mut words = Words([0; WORDS]);
    words.common(serial, MODEL_DISK);
    // Not removable.
    words.0[0] = 0x0040;
    words.0[1] = cylinders as u16;
    words.0[3] = HEADS as u16;
    words.0[6] = SECTORS as u16;
    words.0[47] = 0x8000 | u16::from(MOST_MULTIPLE);
    words.0[54] = cylinders as u16;
    words.0[55] = HEADS as u16;
    words.0[56] = SECTORS as u16;
    words.long(57, (cylinders * HEADS * SECTORS) as u32);
    if multiple != 0 {
        words.0[59] = 0x0100 | u16::from(multiple);
    }
    words.long(60, sectors.min(MOST_SHORT) as u32);
    let commands = SAYS | FLUSHES | FLUSHES_LONG | LONG_ADDRESSES;
    words.0[82] = WRITE_CACHE;
    words.0[83] = commands;
    words.0[84] = SAYS;
    words.0[85] = WRITE_CACHE;
    words.0[86] = commands & !SAYS;
    words.0[87] = SAYS;
    words.long(100, sectors as u32);
    words.long(102, (sectors >> 32) as u32);
    words.bytes()
}

pub(crate) fn cd() -> Vec<u8> {
    let mut words = Words([0; WORDS]);
    words.common("", MODEL_CD);
    // ATAPI, a CD-ROM drive, removable, packets of twelve bytes, awaited at once.
    words.0[0] = 0x85c0;
    words.0[82] = 1 << 4;
    words.0[83] = SAYS;
    words.0[85] = 1 << 4;
    words.0[87] = SAYS;
    words.bytes()
}
