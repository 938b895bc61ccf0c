//! The disk controller of old. Spec: Intel 82371SB (PIIX3) datasheet, "Bus Master IDE I/O Registers"; ATA/ATAPI-6,
//! "Command descriptions".

use super::LISTS;
use crate::Machine;
use crate::hardware_raw::{input, output, store};
use crate::pci::Function;
use crate::random::Random;

const CLASS: u16 = 0x0101;
const MASTER_BAR: u8 = 4;
const CHANNELS: [u16; 2] = [0x1f0, 0x170];
/// Read and write by DMA and by PIO, their long forms, packets, identify, flush, multiple, and resets.
const COMMANDS: [u64; 16] = [
    0xc8, 0xca, 0x25, 0x35, 0x20, 0x30, 0x24, 0x34, 0xa0, 0xa1, 0xec, 0xe7, 0xc4, 0xc5, 0xc6, 0x08,
];
const DESCRIPTORS: u64 = 64;

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    for function in Function::all().filter(|function| function.class() == CLASS) {
        let master = function.region(MASTER_BAR, &mut machine.windows);
        for channel in 0..2 {
            output(master.base as u16 + channel * 8, 1, 0);
        }
        function.enable(7);
        for _ in 0..80 {
            let channel = random.below(2) as u16;
            let first = CHANNELS[usize::from(channel)];
            let master = master.base as u16 + channel * 8;
            let table = write_table(machine, random);
            output(master, 1, 0);
            output(master + 4, 4, table as u32);
            command(first, random);
            output(master, 1, random.pick(&[1, 9, 9, 8]));
            for _ in 0..random.below(16) {
                match random.below(4) {
                    0 => output(first, 2, random.next() as u32),
                    1 => output(master + random.below(8) as u16, 1, random.next() as u32),
                    _ => {
                        input(first + random.below(8) as u16, 1);
                    }
                }
            }
        }
    }
}

fn command(first: u16, random: &Random) {
    output(first + 6, 1, (0xe0 | random.below(32)) as u32);
    for register in [1, 2, 3, 4, 5, 2, 3, 4, 5] {
        let value = if random.once_in(2) { 0 } else { random.odd() };
        output(first + register, 1, value as u32);
    }
    let command = if random.once_in(8) {
        random.next()
    } else {
        random.pick(&COMMANDS)
    };
    output(first + 7, 1, command as u32);
    if command == 0xa0 {
        // Read, read capacity, mode sense, inquiry and others.
        let packet = random.pick(&[0x28, 0x25, 0x5a, 0x12, 0xbe, 0x43, 0xa8, random.next()]);
        output(first, 2, packet as u32 & 0xff);
        for _ in 0..5 {
            output(first, 2, random.odd() as u32);
        }
    }
}

fn write_table(machine: &Machine, random: &Random) -> u64 {
    for index in 0..DESCRIPTORS {
        let last = u64::from(random.once_in(8)) << 31;
        store(LISTS + index * 8, 4, machine.places.wild32(random));
        store(LISTS + index * 8 + 4, 4, last | random.odd() & 0xffff);
    }
    match random.below(6) {
        0 => machine.places.wild32(random),
        // Up to the end of 64 KiB.
        1 => LISTS + 0x1_0000 - 8,
        _ => LISTS,
    }
}
