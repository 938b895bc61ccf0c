//! A guest that does its worst to its host, reproducibly: the same seed does the same, as far as devices that
//! work beside it allow. It says on its serial port what it is at, and "done" at the end.
#![no_std]
#![no_main]
#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are parts of wider values"
)]

mod dma;
mod hardware_raw;
mod noise;
mod pci;
mod places;
mod random;
mod serial;
mod start_raw;
mod virtio;

use hardware_raw::{halt, orders, output};
use pci::{Function, Windows};
use places::Places;
use random::Random;
use serial::say;

/// What an attack knows of the machine.
pub(crate) struct Machine {
    pub(crate) places: Places,
    pub(crate) windows: Windows,
}

/// The device by which a guest ends, and what it is told.
const EXIT: u16 = 0xf4;
const DONE: u32 = 20;

type Attack = fn(&mut Machine, &Random);

/// In the order of the bits by which they are chosen.
const ATTACKS: [(&str, Attack); 13] = [
    ("virtio", virtio::attack),
    ("ide", dma::ide::attack),
    ("nvme", dma::nvme::attack),
    ("ethernet", dma::ethernet::attack),
    ("sound", dma::sound::attack),
    ("blaster", dma::blaster::attack),
    ("floppy", dma::floppy::attack),
    ("fw-cfg", dma::fw_cfg::attack),
    ("uhci", dma::uhci::attack),
    ("ports", noise::ports),
    ("messages", noise::messages),
    ("config", noise::config),
    // The last: whatever devices have been told by then, none of them is master of the bus.
    ("memory", noise::memory),
];

#[unsafe(no_mangle)]
extern "sysv64" fn main() -> ! {
    let orders = orders();
    let mut machine = survey(orders.memory);
    for round in 0..orders.rounds {
        for (number, (name, attack)) in (0u64..).zip(ATTACKS) {
            if orders.attacks >> number & 1 == 0 {
                continue;
            }
            say(name.as_bytes());
            say(b"\n");
            let random = Random::new(orders.seed << 20 | round << 8 | number);
            attack(&mut machine, &random);
        }
        say(b"round ");
        say_number(round + 1);
    }
    say(b"done\n");
    if orders.exits != 0 {
        output(EXIT, 1, DONE);
    }
    halt()
}

fn say_number(number: u64) {
    say_digits(number);
    say(b"\n");
}

fn say_digits(number: u64) {
    if number >= 10 {
        say_digits(number / 10);
    }
    say(&[b'0' + (number % 10) as u8]);
}

/// Finds what there is, and gives regions places that have none.
fn survey(memory: u64) -> Machine {
    let mut machine = Machine {
        places: Places::new(memory),
        windows: Windows::default(),
    };
    for function in Function::all() {
        let mut bar = 0;
        while bar < 6 {
            let region = function.region(bar, &mut machine.windows);
            bar += 1 + u8::from(region.wide);
            if region.len > 0 && !region.ports {
                machine.places.add(region.base, region.len);
            }
        }
        function.enable(7);
    }
    machine
}

/// This program has done something wrong itself: what lies on its stack, and the address of a page fault.
#[unsafe(no_mangle)]
extern "sysv64" fn fault(first: u64, second: u64, address: u64) -> ! {
    say(b"fault ");
    for number in [first, second, address] {
        say_number(number);
    }
    halt()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    say(b"panic\n");
    halt()
}
