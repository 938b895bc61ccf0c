//! An NVMe controller. Spec: NVM Express Base Specification 1.4, "Controller Registers", "Admin Command Set",
//! "Physical Region Page Entry and List".

use super::LISTS;
use crate::Machine;
use crate::hardware_raw::{load, store};
use crate::pci::Function;
use crate::random::Random;

const CLASS: u16 = 0x0108;
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const ADMIN_SIZES: u64 = 0x24;
const ADMIN_SUBMISSION: u64 = 0x28;
const ADMIN_COMPLETION: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;
const ENABLE: u64 = 0x46_0001;
const ENTRIES: u64 = 16;
const PAIRS: u64 = 3;
/// Submission queues, completion queues, and lists of pages.
const SUBMISSION: u64 = LISTS;
const COMPLETION: u64 = LISTS + 0x1_0000;
const PAGES: u64 = LISTS + 0x2_0000;

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    for function in Function::all().filter(|function| function.class() == CLASS) {
        let registers = function.region(0, &mut machine.windows).base;
        store(registers + CONFIGURATION, 4, 0);
        function.enable(7);
        for _ in 0..4 {
            start(registers, machine, random);
            for _ in 0..40 {
                submit(registers, machine, random);
                if random.once_in(16) {
                    store(registers + (random.below(0x40) & !3), 4, random.odd());
                }
                if load(registers + STATUS, 4) & 3 != 1 {
                    start(registers, machine, random);
                }
            }
        }
        store(registers + CONFIGURATION, 4, 0);
    }
}

fn start(registers: u64, machine: &Machine, random: &Random) {
    store(registers + CONFIGURATION, 4, 0);
    let place = |good, random: &Random| match random.once_in(8) {
        true => machine.places.wild(random),
        false => good,
    };
    let sizes = (ENTRIES - 1) << 16 | (ENTRIES - 1);
    store(
        registers + ADMIN_SIZES,
        4,
        if random.once_in(8) {
            random.odd()
        } else {
            sizes
        },
    );
    store(registers + ADMIN_SUBMISSION, 8, place(SUBMISSION, random));
    store(registers + ADMIN_COMPLETION, 8, place(COMPLETION, random));
    store(registers + CONFIGURATION, 4, ENABLE);
    // Create queues for reads and writes, completion queues first.
    for pair in 1..PAIRS {
        for (opcode, base, flags) in [(5, COMPLETION, 3), (1, SUBMISSION, pair << 16 | 1)] {
            let at = SUBMISSION + (2 * pair - 2 + u64::from(opcode == 1)) * 64;
            write_command(at, [opcode, 0, 0, place(base + pair * 0x1000, random), 0]);
            store(at + 40, 4, (ENTRIES - 1) << 16 | pair);
            store(at + 44, 4, flags);
        }
    }
    store(registers + DOORBELLS, 4, 2 * (PAIRS - 1));
}

/// Opcode, namespace, metadata, and two pages or a page and a list.
fn write_command(at: u64, words: [u64; 5]) {
    let [opcode, namespace, metadata, first, second] = words;
    for (offset, value) in [
        (0, opcode),
        (4, namespace),
        (16, metadata),
        (24, first),
        (32, second),
    ] {
        store(at + offset, if offset < 16 { 4 } else { 8 }, value);
    }
    store(at + 40, 8, 0);
    store(at + 48, 8, 0);
}

fn submit(registers: u64, machine: &Machine, random: &Random) {
    let pair = random.below(PAIRS);
    for at in (PAGES..PAGES + 0x1000).step_by(8) {
        let page = machine.places.wild(random);
        store(
            at,
            8,
            if random.once_in(3) {
                page
            } else {
                page & !0xfff
            },
        );
    }
    for index in 0..ENTRIES {
        let at = SUBMISSION + pair * 0x1000 + index * 64;
        // Read, write, flush, compare, write zeroes, trim; or the administrator's.
        let opcode = match pair {
            0 => random.pick(&[0, 1, 2, 4, 5, 6, 8, 9, 10, 12]),
            _ => random.pick(&[0, 1, 2, 2, 5, 8, 9]),
        };
        let number = random.next() & 0xffff_0000;
        let namespace = random.pick(&[1, 1, 1, 0, 0xffff_ffff]);
        let first = machine.places.wild(random);
        let second = if random.once_in(3) {
            machine.places.wild(random)
        } else {
            PAGES + random.below(0x1000)
        };
        write_command(
            at,
            [number | opcode, namespace, random.odd(), first, second],
        );
        store(
            at + 40,
            8,
            if random.once_in(4) {
                random.odd()
            } else {
                random.below(64)
            },
        );
        store(
            at + 48,
            8,
            if random.once_in(4) {
                random.odd()
            } else {
                random.below(64)
            },
        );
    }
    let tail = if random.once_in(8) {
        random.odd()
    } else {
        random.below(ENTRIES)
    };
    store(registers + DOORBELLS + pair * 8, 4, tail);
    let head = if random.once_in(8) {
        random.odd()
    } else {
        random.below(ENTRIES)
    };
    store(registers + DOORBELLS + pair * 8 + 4, 4, head);
}
