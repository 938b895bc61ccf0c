//! The floppy disk controller behind ISA's DMA. Spec: Intel 82078 datasheet, "Command Descriptions"; Intel 8237A
//! datasheet.

use crate::Machine;
use crate::hardware_raw::{input, output};
use crate::places::ARENA;
use crate::random::Random;

const CHANNEL: u16 = 2;
/// The page register of that channel, with the bits of an address from 16 on.
const PAGE: u16 = 0x81;
const VGA: u64 = 0xa_0000;
const MOST_WAITS: u32 = 64;

pub(crate) fn attack(_: &mut Machine, random: &Random) {
    output(0x3f2, 1, 0x1c);
    for _ in 0..40 {
        prepare(random);
        for drive in 0..2 {
            command(&[0x07, drive]);
            command(&[0x08]);
        }
        // Read, write, verify, format, read the identity; or anything.
        let first = random.pick(&[0xe6, 0xc5, 0x46, 0x45, 0x4d, 0x4a, 0x16, random.next()]);
        let mut bytes = [
            first as u8,
            random.below(8) as u8,
            0,
            0,
            1,
            2,
            18,
            0x1b,
            0xff,
        ];
        for byte in &mut bytes[1..] {
            if random.once_in(4) {
                *byte = random.odd() as u8;
            }
        }
        command(&bytes);
        for _ in 0..10 {
            input(0x3f5, 1);
        }
        if random.once_in(8) {
            output(0x3f0 + random.below(8) as u16, 1, random.next() as u32);
            output(0x3f2, 1, 0);
            output(0x3f2, 1, 0x1c);
        }
    }
}

/// Channel 2, at an address that is not this program's.
fn prepare(random: &Random) {
    let address = match random.below(4) {
        0 => VGA + random.below(0x1_0000),
        1 => 0xff_0000 + random.below(0x1_0000),
        _ => ARENA + random.below(0xb0_0000),
    };
    let count = random.pick(&[511, 0xffff, 0x23ff, 0, random.next()]);
    output(0x0a, 1, 4 | u32::from(CHANNEL));
    output(0x0c, 1, 0);
    for part in [address, address >> 8] {
        output(CHANNEL * 2, 1, part as u32);
    }
    output(PAGE, 1, (address >> 16) as u32 & 0xff);
    for part in [count, count >> 8] {
        output(CHANNEL * 2 + 1, 1, part as u32);
    }
    // To memory or from it, upwards or downwards, again and again or once.
    output(0x0b, 1, random.pick(&[0x46, 0x4a, 0x56, 0x5a, 0x42]));
    output(0x0a, 1, u32::from(CHANNEL));
}

fn command(bytes: &[u8]) {
    for byte in bytes {
        let mut waits = 0;
        while input(0x3f4, 1) & 0xc0 != 0x80 && waits < MOST_WAITS {
            input(0x3f5, 1);
            waits += 1;
        }
        output(0x3f5, 1, u32::from(*byte));
    }
}
