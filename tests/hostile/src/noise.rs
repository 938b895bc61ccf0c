//! Noise: every port, every register, the configuration of every function, messages to anywhere.

use crate::Machine;
use crate::hardware_raw::{input, load, output, store};
use crate::pci::Function;
use crate::places::ARENA;
use crate::random::Random;

const LAPIC: u64 = 0xfee0_0000;
const COMMAND_REGISTER: u64 = LAPIC + 0x300;
const IOAPIC: u64 = 0xfec0_0000;
const LAST_MESSAGE: u64 = 0xfeef_ffff;
/// Of the local APIC: its timer and what that counts from, and its other inputs.
const TIMER: u64 = 0x320;
const COUNT: u64 = 0x380;
const LOCAL: [u64; 5] = [0x330, 0x340, 0x350, 0x360, 0x370];
const MASKED: u64 = 1 << 16;
/// Delivery modes of interrupts that this guest outlives: fixed, lowest priority, NMI, by the PIC.
const MODES: [u64; 4] = [0, 1, 4, 7];

/// Ports that end a guest by design: its resets, its power, the devices that say that it is over.
fn ends(port: u16) -> bool {
    matches!(port, 0x60..=0x64 | 0x92 | 0xcf9 | 0xf4..=0xf7 | 0x505 | 0x600..=0x60f | 0xb000..=0xb00f)
}

pub(crate) fn ports(_: &mut Machine, random: &Random) {
    for port in 0..=u16::MAX {
        input(port, random.pick(&[1, 1, 2, 4]));
    }
    for _ in 0..20_000 {
        let port = match random.below(4) {
            0 => random.below(0x400),
            1 => random.below(0x1000),
            2 => 0xc000 + random.below(0x1000),
            _ => random.below(0x1_0000),
        } as u16;
        let size = random.pick(&[1, 2, 4]);
        // A wide access reaches the ports behind as well; DMA of old and fw_cfg's would hit this program.
        let dma = port < 0x20 || (0x80..0xe0).contains(&port) || (0x511..0x51c).contains(&port);
        let config = (0xcf5..0xd00).contains(&port);
        if dma || config || (0..4).any(|next| ends(port.wrapping_add(next))) || is_master(port) {
            input(port, size);
        } else {
            output(port, size, random.odd() as u32);
        }
    }
}

/// Regions of functions in ports, by which DMA goes: they are attacked each in its own way.
fn is_master(port: u16) -> bool {
    (0xbffc..=0xcfff).contains(&port)
}

pub(crate) fn memory(machine: &mut Machine, random: &Random) {
    // Nothing that is told anything here reaches memory, before it is reset.
    for function in Function::all() {
        function.enable(3);
    }
    for _ in 0..20_000 {
        let (address, size) = (machine.places.register(random), random.size());
        if random.once_in(2) || is_message(address) {
            load(address, size);
        } else {
            store(address, size, random.odd());
        }
    }
    for _ in 0..4000 {
        // Where nothing is, or what cannot be written.
        let hole = random.pick(&[
            0xa_0000,
            0xc000_0000,
            0xe000_0000,
            0xfffc_0000,
            0x4_0000_0000,
        ]);
        let address = hole + random.below(0x1_0000);
        let size = random.size();
        if hole == 0xe000_0000 || random.once_in(2) {
            load(address, size);
        } else {
            store(address, size, random.odd());
        }
    }
}

/// Registers of the APICs by which this processor could be reset, or get one NMI after the other.
fn is_message(address: u64) -> bool {
    let command = COMMAND_REGISTER - 8..COMMAND_REGISTER + 0x100;
    command.contains(&address) || (IOAPIC..IOAPIC + 0x1000).contains(&address)
}

/// Masks all that interrupts.
fn quiet() {
    for register in LOCAL.into_iter().chain([TIMER]) {
        store(LAPIC + register, 4, MASKED);
    }
    store(LAPIC + COUNT, 4, 0);
    for entry in 0..64 {
        store(IOAPIC, 4, 0x10 + entry);
        store(IOAPIC + 0x10, 4, MASKED);
    }
}

/// Interrupts to anyone, from the local APIC, the I/O APIC and messages of functions to any address.
pub(crate) fn messages(machine: &mut Machine, random: &Random) {
    store(LAPIC + 0xf0, 4, 0x1ff);
    for _ in 0..500 {
        let mode = random.pick(&MODES) << 8;
        let low = random.next() & !0x700 & 0xcffff | mode;
        store(COMMAND_REGISTER + 16, 4, random.next());
        store(COMMAND_REGISTER, 4, low);
        let entry = random.below(64);
        store(IOAPIC, 4, 0x10 + entry);
        // None is for a level, which would stay.
        let low = random.next() & !0x8700 | random.pick(&MODES) << 8;
        store(IOAPIC + 0x10, 4, low);
        let local = LAPIC + random.pick(&LOCAL);
        store(local, 4, random.next() & !0x8700 | random.pick(&MODES) << 8);
        // Once, and not at once.
        store(LAPIC + TIMER, 4, random.next() & 0x1_00ff);
        store(LAPIC + COUNT, 4, random.next() | 0x100_0000);
        store(LAPIC + 0xb0, 4, 0);
    }
    quiet();
    for function in Function::all() {
        let Some(at) = function.msix() else { continue };
        let table = function.read(at + 4);
        let base = function
            .region((table & 7) as u8, &mut machine.windows)
            .base;
        function.write(at, 0x8000_0000);
        for entry in 0..=u64::from(function.read(at) >> 16 & 0x7ff) {
            let message = base + u64::from(table & !7) + entry * 16;
            let mode = random.pick(&MODES) << 8;
            let anywhere = match machine.places.wild(random) {
                address if (LAPIC..=LAST_MESSAGE).contains(&address) => address & !0x4,
                address => address,
            };
            store(
                message,
                8,
                random.pick(&[LAPIC, LAPIC + 0xf_f000, anywhere]),
            );
            store(message + 8, 4, random.next() & !0x700 | mode);
            store(message + 12, 4, random.below(2));
        }
    }
}

/// Regions on RAM, on the local APIC, on each other; commands; whatever else there is. Puts regions back where
/// they were.
pub(crate) fn config(machine: &mut Machine, random: &Random) {
    for _ in 0..12 {
        for function in Function::all() {
            let mut kept = [0; 16];
            for (value, offset) in kept.iter_mut().zip((0..64).step_by(4)) {
                *value = function.read(offset);
            }
            for _ in 0..12 {
                disturb(function, machine, random);
            }
            for (value, offset) in kept.iter().zip((0u16..64).step_by(4)).skip(4) {
                function.write(offset, *value);
            }
            function.write(4, kept[1] & 0xffff);
        }
    }
}

fn disturb(function: Function, machine: &Machine, random: &Random) {
    let bar = 0x10 + 4 * random.below(6) as u16;
    match random.below(8) {
        0..=2 => {
            let place = match random.below(6) {
                0 => LAPIC,
                1 => IOAPIC,
                2 => machine.places.ram(random, 0x1000),
                3 => machine.places.register(random) & !0xfff,
                4 => 0xffff_f000,
                _ => 0xa_0000,
            };
            // Its neighbour in the same access is the upper half, where it has one.
            function.write(bar, place as u32);
            function.write(4, random.pick(&[7, 3, 2, 0x407]));
            load(place.max(ARENA), 4);
        }
        3 => function.write(bar, random.odd() as u32),
        4 => function.write(4, random.odd() as u32 & !4),
        // The expansion ROM.
        5 => function.write(0x30, machine.places.wild32(random) as u32 | 1),
        _ => {
            let offset = random.below(0x100) as u16 & !3;
            function.read(offset);
            // Where a window to registers is, a write to it is one to a register.
            if offset < 0x40 && !(4..0x10).contains(&offset) {
                function.write(offset, random.odd() as u32);
            }
        }
    }
}
