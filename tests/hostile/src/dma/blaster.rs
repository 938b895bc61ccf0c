//! A Sound Blaster behind ISA's DMA. Spec: Creative, "Sound Blaster Series Hardware Programming Guide"; Intel 8237A
//! datasheet.

use crate::Machine;
use crate::hardware_raw::{input, output};
use crate::places::ARENA;
use crate::random::Random;

const BASE: u16 = 0x220;
const COMMAND: u16 = BASE + 0xc;

pub(crate) fn attack(_: &mut Machine, random: &Random) {
    reset();
    for _ in 0..40 {
        prepare(random);
        // Any setup of interrupts and channels, the card's own for the most part.
        if random.once_in(8) {
            output(BASE + 4, 1, random.pick(&[0x80, 0x81, 0x00]) as u32);
            output(BASE + 5, 1, random.next() as u32);
        }
        // The fastest there is, or the slowest.
        command(&[0x41, random.next() as u8, random.next() as u8]);
        // Play or record, words or bytes, again and again or once; blocks of one sample among them.
        let first = 0xb0 | random.below(32) as u8;
        let length = random.pick(&[0, 1, 0x7f, 0xffff]) as u16;
        let [low, high] = length.to_le_bytes();
        command(&[first, random.next() as u8, low, high]);
        for _ in 0..8 {
            input(BASE + 4 + random.below(12) as u16, 1);
            if random.once_in(3) {
                output(COMMAND, 1, random.odd() as u32 & 0xff);
            }
        }
    }
    reset();
}

fn reset() {
    output(BASE + 6, 1, 1);
    output(BASE + 6, 1, 0);
}

/// Channels 1 and 5, at an address that is not this program's.
fn prepare(random: &Random) {
    let address = ARENA + random.below(0xb0_0000);
    let count = random.pick(&[0, 1, 0xff, 0xffff]);
    let mode = random.pick(&[0x45, 0x49, 0x55, 0x59, 0x41]);
    for (registers, step, page) in [(0x00, 1, 0x83), (0xc0, 2, 0x8b)] {
        output(registers + step * 0xa, 1, 5);
        output(registers + step * 0xc, 1, 0);
        let units = address / u64::from(step);
        for part in [units, units >> 8] {
            output(registers + step * 2, 1, part as u32 & 0xff);
        }
        for part in [count, count >> 8] {
            output(registers + step * 3, 1, part as u32 & 0xff);
        }
        output(page, 1, (address >> 16) as u32 & 0xff);
        output(registers + step * 0xb, 1, mode);
        output(registers + step * 0xa, 1, 1);
    }
}

fn command(bytes: &[u8]) {
    for byte in bytes {
        output(COMMAND, 1, u32::from(*byte));
    }
}
