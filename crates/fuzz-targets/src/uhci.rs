//! A UHCI controller: registers in any order and width, lists, queues and transfers that lie or lead nowhere, time that
//! passes, devices that are asked for anything, somebody at the keyboard.

use std::sync::Arc;

use devices::pci::PciFunction;
use devices::testing::{FakeClock, FakeLine};
use devices::usb::HidHandle;
use devices::usb::uhci::{Uhci, UhciParts};
use devices::virtio::{RateLimit, TabletEvent};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use crate::Input;
use crate::pc::{disk, pace, states};

const RAM: u64 = 0x2_0000;
/// A page of the list, queues of 16 bytes, transfers of 32, and what they move.
const LIST: u64 = 0x1000;
const QUEUES: u64 = 0x2000;
const TRANSFERS: u64 = 0x4000;
const DATA: u64 = 0x8000;
/// Where nothing is.
const NOWHERE: u32 = 0x7fff_fff0;
const BAR: u8 = 4;
const MILLISECOND: u64 = 1_000_000;

/// A controller that runs, with open ports.
fn begin(uhci: &mut Uhci, memory: &GuestMemory) {
    let ram = memory.ram();
    for frame in 0..1024 {
        let _ = ram.write_obj(0x2002u32, GuestAddress(LIST + 4 * frame));
    }
    uhci.config_write(0x04, 2, 5);
    for (at, value) in [
        (0x08, LIST),
        (0x0a, 0),
        (0x04, 0xf),
        (0x00, 0xc1),
        (0x10, 4),
        (0x12, 4),
    ] {
        uhci.bar_write(BAR, at, 2, value);
    }
}

/// To one of some queues and transfers, the end, or nowhere.
fn link(input: &mut Input<'_>) -> u32 {
    let number = u32::from(input.byte());
    let flags = number >> 4 & 4;
    match number & 15 {
        0..=6 => 0x2002 + 16 * (number & 7),
        7..=12 => 0x4000 + 32 * (number & 31) + flags,
        13 => NOWHERE | number >> 5 & 2,
        14 => input.u32(),
        _ => 1,
    }
}

/// A transfer that most often makes sense, in the middle of others.
fn transfer(memory: &GuestMemory, input: &mut Input<'_>) {
    let at = TRANSFERS + 32 * u64::from(input.byte() & 31);
    let kind = input.choose(&[0x2du32, 0x69, 0x69, 0xe1, 0xe1, 0x69, 0x00]);
    let len = input.choose(&[8u32, 8, 64, 31, 13, 0, 18, 0x500, 0x501]);
    let endpoint = input.choose(&[0u32, 0, 0, 1, 2, 15]);
    let mut words = [
        link(input),
        1 << 23 | u32::from(input.byte()) << 24,
        len.wrapping_sub(1) << 21 | endpoint << 15 | u32::from(input.byte() & 3) << 8 | kind,
        0x8000 + 8 * u32::from(input.byte()),
    ];
    if input.byte() == 0 {
        words[usize::from(input.byte() & 3)] = input.u32();
    }
    let _ = memory.ram().write_obj(words, GuestAddress(at));
}

/// Transfers as a driver has them, one behind the other, and a frame for them.
fn drive(uhci: &mut Uhci, clock: &FakeClock, memory: &GuestMemory, input: &mut Input<'_>) {
    let (kind, endpoint, len) = input.choose(&[
        (0x2du32, 0u32, 8u32),
        (0x69, 0, 64),
        (0xe1, 0, 0),
        (0xe1, 2, 31),
        (0xe1, 2, 64),
        (0x69, 1, 64),
        (0x69, 1, 13),
    ]);
    if kind == 0x2d || len == 31 {
        data(memory, input, DATA, kind == 0x2d);
    }
    let count = input.choose(&[1u32, 1, 8, 70]);
    let at = 0x4000u32;
    for number in 0..count {
        let next = if number + 1 == count {
            1
        } else {
            at + 32 * (number + 1) + 4
        };
        let token = len.wrapping_sub(1) << 21 | endpoint << 15 | kind;
        let words = [next, 1 << 23 | 1 << 24, token, 0x8000];
        let place = GuestAddress(TRANSFERS + 32 * u64::from(number));
        let _ = memory.ram().write_obj(words, place);
    }
    let _ = memory.ram().write_obj([1, at], GuestAddress(QUEUES));
    clock.advance(MILLISECOND);
    uhci.expire();
}

/// A request of the default pipe, or a command block of the disk's.
fn data(memory: &GuestMemory, input: &mut Input<'_>, at: u64, request: bool) {
    let at = GuestAddress(at);
    if request {
        let (kind, request) = input.choose(&[
            (0x80, 6),
            (0x00, 5),
            (0x00, 9),
            (0xa1, 1),
            (0x21, 9),
            (0x21, 0xff),
            (0x02, 1),
        ]);
        let setup = [kind, request, input.byte() & 3, input.byte() & 0x23];
        let _ = memory.ram().write_slice(&setup, at);
        let rest = [0, 0, input.byte(), input.byte() & 1];
        let _ = memory.ram().write_slice(&rest, GuestAddress(at.0 + 4));
        return;
    }
    let mut block = [0; 31];
    block[..4].copy_from_slice(b"USBC");
    block[9] = input.byte() & 31;
    block[12] = input.byte();
    block[14] = 10;
    block[15] = input.choose(&[0x00, 0x03, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x88]);
    block[20] = input.byte();
    block[23] = input.byte() & 15;
    let _ = memory.ram().write_slice(&block, at);
}

fn controller(hands: bool, memory: &GuestMemory, parts: UhciParts) -> (Uhci, Option<HidHandle>) {
    let (mut uhci, handle) = if hands {
        let (uhci, handle) = Uhci::with_hands(parts);
        (uhci, Some(handle))
    } else {
        (Uhci::with_disks(vec![(disk(), "x".into())], parts), None)
    };
    begin(&mut uhci, memory);
    (uhci, handle)
}

pub(crate) fn uhci(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let (pace, gate) = pace(input.bool());
    let clock = FakeClock::new();
    let parts = UhciParts {
        memory: memory.clone(),
        line: FakeLine::new(),
        pin: 4,
        clock: Arc::clone(&clock) as _,
        pace,
    };
    let (mut uhci, handle) = controller(input.bool(), &memory, parts);
    while !input.is_empty() {
        let what = input.byte();
        match what & 15 {
            0 | 1 => transfer(&memory, &mut input),
            2 | 3 => drive(&mut uhci, &clock, &memory, &mut input),
            4 | 5 => {
                let at = QUEUES + 16 * u64::from(what >> 5);
                let links = [link(&mut input), link(&mut input)];
                let _ = memory.ram().write_obj(links, GuestAddress(at));
            }
            6 => {
                let at = DATA + 8 * u64::from(input.byte());
                data(&memory, &mut input, at, what & 16 != 0);
            }
            7 => {
                let at = LIST + 4 * u64::from(input.u16() & 0x3ff);
                let _ = memory.ram().write_obj(link(&mut input), GuestAddress(at));
            }
            8 => {
                let size = [1, 2, 4, 8][usize::from(what >> 6)];
                let at = u64::from(input.byte() & 31).min(32 - u64::from(size));
                uhci.bar_write(BAR, at, size, input.u64());
            }
            9 => {
                uhci.bar_read(BAR, u64::from(input.byte() & 24), 8);
            }
            10 => states(&mut uhci, &mut input),
            11 => {
                if let Some(handle) = &handle {
                    let _ = handle.key(input.take(3));
                    let _ = handle.point(TabletEvent {
                        x: input.u16(),
                        y: input.u16(),
                        wheel: i32::from(input.byte()) - 128,
                        buttons: input.byte(),
                    });
                }
                uhci.expire();
            }
            12 => {
                // A short time, or one after which much was missed.
                let frames = u64::from(what >> 4) << if input.bool() { 0 } else { 12 };
                clock.advance(frames * MILLISECOND);
                uhci.expire();
            }
            13 => uhci.config_write(input.u16() & 0xfc, 4, input.u32()),
            14 => {
                gate.set(RateLimit::default());
                begin(&mut uhci, &memory);
            }
            _ => uhci.reset(),
        }
    }
}
