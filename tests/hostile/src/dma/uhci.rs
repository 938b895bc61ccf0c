//! A UHCI controller. Spec: Intel, Universal Host Controller Interface (UHCI) Design Guide 1.1, "Host Controller I/O
//! Registers", "Data Structures".

use super::LISTS;
use crate::Machine;
use crate::hardware_raw::{input, output, store};
use crate::pci::Function;
use crate::random::Random;

const CLASS: u16 = 0x0c03;
/// Another of this class is an xHCI controller.
const DEVICE: u16 = 0x7020;
const BAR: u8 = 4;
const COMMAND: u16 = 0x00;
const INTERRUPTS: u16 = 0x04;
const FRAME: u16 = 0x06;
const LIST: u16 = 0x08;
const PORTS: [u16; 2] = [0x10, 0x12];
const RUN: u32 = 0xc1;

const QUEUES: u64 = LISTS + 0x1000;
const TRANSFERS: u64 = LISTS + 0x2000;
const COUNT: u64 = 32;
const SETUP: u64 = 0x2d;
const KINDS: [u64; 4] = [SETUP, 0x69, 0xe1, 0x69];
/// Reads of the frame's number until it has changed, or it never does.
const PATIENCE: u32 = 20_000;

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    let all = Function::all();
    for function in all.filter(|it| it.class() == CLASS && it.device() == DEVICE) {
        let ports = function.region(BAR, &mut machine.windows).base as u16;
        output(ports + COMMAND, 2, 2);
        function.enable(5);
        for _ in 0..24 {
            write_schedule(machine, random);
            begin(ports, machine, random);
            for _ in 0..random.below(8) {
                let register = random.below(0x20) as u16;
                match random.below(3) {
                    0 => output(ports + register, 1, random.odd() as u32),
                    1 => output(ports + (register & !1), 2, random.next() as u32),
                    _ => {
                        input(ports + (register & !3), 4);
                    }
                }
            }
            output(ports + COMMAND, 2, RUN);
            pass_frame(ports);
        }
        output(ports + COMMAND, 2, 2);
        function.enable(1);
    }
}

/// Open ports, and the list where it is, or where nothing is.
fn begin(ports: u16, machine: &Machine, random: &Random) {
    output(ports + COMMAND, 2, 0);
    for port in PORTS {
        if random.once_in(8) {
            output(ports + port, 2, 0x200);
            output(ports + port, 2, 0);
        }
        output(ports + port, 2, 4);
    }
    let list = match random.once_in(8) {
        true => machine.places.wild32(random),
        false => LISTS,
    };
    output(ports + LIST, 4, list as u32);
    output(ports + INTERRUPTS, 2, random.below(16) as u32);
    output(ports + COMMAND, 2, RUN);
}

fn pass_frame(ports: u16) {
    let first = input(ports + FRAME, 2);
    for _ in 0..PATIENCE {
        if input(ports + FRAME, 2) != first {
            break;
        }
    }
}

/// To a queue, a transfer, in a ring more often than not; or anywhere.
fn link(machine: &Machine, random: &Random) -> u64 {
    let depth = random.below(2) << 2;
    match random.below(16) {
        0..=5 => (QUEUES + 16 * random.below(COUNT)) | 2,
        6..=12 => (TRANSFERS + 32 * random.below(COUNT)) | depth,
        13 => machine.places.wild32(random) & !15 | random.below(4),
        _ => 1,
    }
}

fn write_schedule(machine: &Machine, random: &Random) {
    for frame in 0..1024 {
        store(LISTS + 4 * frame, 4, link(machine, random));
    }
    for number in 0..COUNT {
        store(QUEUES + 16 * number, 4, link(machine, random));
        store(QUEUES + 16 * number + 4, 4, link(machine, random));
        let at = TRANSFERS + 32 * number;
        store(at, 4, link(machine, random));
        store(at + 4, 4, 1 << 23 | random.below(64) << 24);
        let kind = random.pick(&KINDS);
        let len = if kind == SETUP { 8 } else { random.below(80) };
        let token = (len.wrapping_sub(1) & 0x7ff) << 21 | random.below(3) << 15 | kind;
        let token = if random.once_in(32) {
            random.odd()
        } else {
            token
        };
        store(at + 8, 4, token);
        // Requests lie where their transfers do, and others where anything may.
        let buffer = if kind == SETUP {
            at + 16
        } else {
            machine.places.wild32(random)
        };
        store(at + 12, 4, buffer);
        let request = random.pick(&[
            0x0680,
            0x0500,
            0x0900,
            0x01a1,
            0x0921,
            0xff21,
            random.next(),
        ]);
        store(at + 16, 4, request & 0xffff | random.below(4) << 16);
        store(at + 20, 4, random.odd() << 16);
    }
}
