//! Network cards of old. Spec: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
//! Manual, "Receive and Transmit Description"; Realtek RTL8139 datasheet, "Register Descriptions".

use super::LISTS;
use crate::Machine;
use crate::hardware_raw::{load, relax, store};
use crate::pci::Function;
use crate::random::Random;

const E1000: (u16, u16) = (0x8086, 0x100e);
const RTL8139: (u16, u16) = (0x10ec, 0x8139);
const ENTRIES: u64 = 32;
const CTRL_RESET: u64 = 1 << 26;
const COMMAND: u64 = 0x37;
const COMMAND_RESET: u64 = 0x10;

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    for function in Function::all() {
        let kind = (function.vendor(), function.device());
        let bar = u8::from(kind == RTL8139);
        if kind != E1000 && kind != RTL8139 {
            continue;
        }
        let registers = function.region(bar, &mut machine.windows).base;
        reset(registers, kind);
        function.enable(7);
        for _ in 0..30 {
            if kind == E1000 {
                e1000(registers, machine, random);
            } else {
                rtl8139(registers, machine, random);
            }
        }
        // Its rings are others' after this.
        reset(registers, kind);
    }
}

fn reset(registers: u64, kind: (u16, u16)) {
    if kind == E1000 {
        store(registers, 4, CTRL_RESET);
    } else {
        store(registers + COMMAND, 1, COMMAND_RESET);
    }
}

fn e1000(registers: u64, machine: &Machine, random: &Random) {
    for ring in [0x2800, 0x3800] {
        let base = if random.once_in(6) {
            machine.places.wild(random)
        } else {
            LISTS
        };
        let len = if random.once_in(6) {
            random.odd()
        } else {
            ENTRIES * 16
        };
        for (offset, value) in [(0, base), (4, base >> 32), (8, len), (0x10, 0)] {
            store(registers + ring + offset, 4, value);
        }
    }
    write_ring(machine, random);
    store(registers + 0x100, 4, random.next() | 0x801e);
    store(registers + 0x400, 4, random.next() | 2);
    store(registers + 0xd0, 4, random.next());
    for _ in 0..8 {
        let tail = if random.once_in(8) {
            random.odd()
        } else {
            random.below(ENTRIES)
        };
        store(registers + random.pick(&[0x2818, 0x3818, 0x3818]), 4, tail);
        if random.once_in(4) {
            write_ring(machine, random);
        }
        if random.once_in(6) {
            store(registers + (random.below(0x6000) & !3), 4, random.odd());
        }
        load(registers + 0xc0, 4);
        relax(200);
    }
}

/// Descriptors of all kinds: buffers, contexts, data with checksums and segments to be made of it.
fn write_ring(machine: &Machine, random: &Random) {
    for at in (LISTS..LISTS + ENTRIES * 16).step_by(16) {
        let address = machine.places.wild(random);
        let kind = random.pick(&[0, 0, 1 << 29, 1 << 29 | 1 << 20, 1 << 29 | 1 << 20]);
        let command = random.below(256) << 24;
        let len = random.pick(&[60, 1514, 16384, 0, random.next() & 0xf_ffff]);
        store(
            at,
            8,
            if kind == 1 << 29 {
                random.odd()
            } else {
                address
            },
        );
        store(at + 8, 8, random.odd() << 32 | kind | command | len);
    }
}

fn rtl8139(registers: u64, machine: &Machine, random: &Random) {
    store(
        registers + COMMAND,
        1,
        random.pick(&[0x0c, 0x0c, 0x10, 0x08, 0x04]),
    );
    store(registers + 0x30, 4, machine.places.wild32(random));
    store(registers + 0x44, 4, random.next() | 0xf);
    store(registers + 0x40, 4, random.next());
    for _ in 0..12 {
        let slot = random.below(4) * 4;
        store(registers + 0x20 + slot, 4, machine.places.wild32(random));
        let len = random.pick(&[60, 1514, 0, 0x1fff, 1792]);
        let more = if random.once_in(4) { random.next() } else { 0 };
        store(registers + 0x10 + slot, 4, len | more);
        if random.once_in(3) {
            store(registers + random.below(0x80), random.size(), random.odd());
        }
        store(registers + 0x38, 2, random.odd());
        load(registers + 0x3e, 2);
        relax(200);
    }
}
