//! An xHCI controller: registers in any order, rings and contexts that lie, devices that are asked for anything, somebody
//! at the keyboard.
#![allow(clippy::cast_possible_truncation, reason = "addresses are small")]

use devices::pci::PciFunction;
use devices::testing::{FakeLine, FakeMsi};
use devices::usb::xhci::{Xhci, XhciParts};
use devices::virtio::{RateLimit, TabletEvent};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use crate::Input;
use crate::pc::{disk, pace, states};

const RAM: u64 = 0x2_0000;
const CONTEXTS: u64 = 0x1000;
const COMMANDS: u64 = 0x2000;
const SEGMENTS: u64 = 0x3000;
const EVENTS: u64 = 0x4000;
const INPUTS: u64 = 0x6000;
const RINGS: u64 = 0x8000;
const DATA: u64 = 0x1_8000;
const OPERATION: u64 = 0x40;
const PORTS: u64 = 0x440;
const INTERRUPTER: u64 = 0x1020;
const DOORBELLS: u64 = 0x2000;

/// A controller that runs, as its driver has set it up.
fn begin(xhci: &mut Xhci, memory: &GuestMemory) {
    let ram = memory.ram();
    let _ = ram.write_obj([0x4000u32, 0, 64, 0], GuestAddress(SEGMENTS));
    for slot in 1..=16 {
        let context = 0x1_0000 + slot * 0x400;
        let _ = ram.write_obj(context, GuestAddress(CONTEXTS + slot * 8));
    }
    xhci.config_write(0x04, 2, 7);
    for (at, value) in [
        (OPERATION + 0x30, CONTEXTS),
        (OPERATION + 0x18, COMMANDS | 1),
        (INTERRUPTER + 8, 1),
        (INTERRUPTER + 0x18, EVENTS),
        (INTERRUPTER + 0x10, SEGMENTS),
        (INTERRUPTER, 2),
        (OPERATION, 5),
        (PORTS, 0x210),
        (PORTS + 0x10, 0x210),
        (PORTS + 0x20, 0x210),
    ] {
        xhci.bar_write(0, at, 4, value);
    }
}

/// Of an input context: what is added, a port, and rings where they are looked for.
fn input_context(memory: &GuestMemory, input: &mut Input<'_>, slot: u64) -> u64 {
    let at = INPUTS + (slot & 3) * 0x400;
    let ram = memory.ram();
    let added = if input.bool() {
        u32::from(input.u16()) | 3
    } else {
        3
    };
    let _ = ram.write_obj([0u32, added], GuestAddress(at));
    let port = u32::from(input.byte() & 3) << 16;
    let _ = ram.write_obj([input.u16().into(), port], GuestAddress(at + 32));
    for endpoint in 1..16u64 {
        let kind = match (endpoint, input.byte()) {
            (1, _) => 4,
            (_, byte) => u32::from(byte & 7),
        };
        let ring = RINGS + (slot & 7) * 0x800 + endpoint * 0x80;
        let context = [0, kind << 3, ring as u32 | 1, 0];
        let _ = ram.write_obj(context, GuestAddress(at + 32 + endpoint * 32));
    }
    at
}

/// A command at this place of its ring, and the doorbell.
fn request(xhci: &mut Xhci, memory: &GuestMemory, input: &mut Input<'_>, slot: u64, at: u64) {
    let kind = input.choose(&[9, 11, 11, 12, 12, 13, 14, 15, 16, 17, 10, 23, 6]);
    let parameter = if kind == 16 {
        (RINGS + (slot & 7) * 0x800 + u64::from(input.byte()) * 16) | 1
    } else {
        input_context(memory, input, slot)
    };
    let control = kind << 10 | (slot as u32) << 24 | u32::from(input.byte() & 31) << 16;
    let extra = u32::from(input.u16()) & 0x202;
    let trb = [parameter as u32, 0, 0, control | extra | 1];
    let _ = memory.ram().write_obj(trb, GuestAddress(at));
    xhci.bar_write(0, DOORBELLS, 4, 0);
}

/// Transfers of an endpoint, and its doorbell.
fn transfers(xhci: &mut Xhci, memory: &GuestMemory, input: &mut Input<'_>, slot: u64, count: u8) {
    let endpoint = u64::from(input.byte() & 15);
    let ring = RINGS + slot * 0x800 + endpoint * 0x80;
    for at in 0..u64::from(count) {
        let kind = input.choose(&[1u32, 1, 2, 3, 4, 6, 7, 8]);
        let flags = u32::from(input.byte()) & 0x74 | u32::from(input.byte() & 1) << 16;
        let mut trb = [
            DATA as u32,
            0,
            input.u32() & 0x1_0fff,
            kind << 10 | flags | 1,
        ];
        if kind == 2 {
            trb[0] = input.u32();
            trb[1] = input.u32() & 0xff_00ff;
            trb[3] |= 1 << 6;
        }
        if kind == 6 || input.byte() < 8 {
            trb[0] = input.u32() & 0x2_ffff;
        }
        let _ = memory.ram().write_obj(trb, GuestAddress(ring + at * 16));
    }
    xhci.bar_write(0, DOORBELLS + slot * 4, 4, endpoint);
}

pub(crate) fn xhci(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let (pace, gate) = pace(input.bool());
    let parts = XhciParts {
        memory: memory.clone(),
        msi: FakeMsi::new(),
        line: FakeLine::new(),
        pace,
    };
    let mut xhci = Xhci::new(vec![(disk(), "x".into())], parts);
    let handle = xhci.handle();
    begin(&mut xhci, &memory);
    let mut command = COMMANDS;
    while !input.is_empty() {
        let what = input.byte();
        let slot = u64::from(input.byte() & 7);
        match what & 15 {
            0..=3 => {
                request(&mut xhci, &memory, &mut input, slot, command);
                command += 16;
                if command >= COMMANDS + 0x800 {
                    let link = [COMMANDS as u32, 0, 0, 6 << 10 | 1];
                    let _ = memory.ram().write_obj(link, GuestAddress(command));
                    command = COMMANDS;
                }
            }
            4..=7 => {
                transfers(&mut xhci, &memory, &mut input, slot, what >> 5);
            }
            8 => {
                // A command block of the disk's.
                let mut block = [0; 31];
                block[..4].copy_from_slice(b"USBC");
                block[9] = input.byte() & 15;
                block[12] = input.byte();
                block[14] = 10;
                block[15] = input.choose(&[0x00, 0x03, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x88]);
                block[20] = input.byte();
                block[23] = input.byte() & 7;
                let _ = memory.ram().write_slice(&block, GuestAddress(DATA));
            }
            9 => {
                let at = u64::from(input.byte()) * 4;
                let base = input.choose(&[0, OPERATION, PORTS, INTERRUPTER, DOORBELLS]);
                xhci.bar_write(
                    0,
                    base + at,
                    if what & 16 == 0 { 4 } else { 8 },
                    input.u64(),
                );
            }
            10 => {
                xhci.bar_read(0, u64::from(input.u16()) & 0x3ff8, 8);
            }
            11 => states(&mut xhci, &mut input),
            12 => {
                let _ = handle.key(input.take(3));
                let _ = handle.point(TabletEvent {
                    x: input.u16(),
                    y: input.u16(),
                    wheel: i32::from(input.byte()) - 128,
                    buttons: input.byte(),
                });
                xhci.expire();
            }
            13 => {
                // The driver has taken events.
                let taken = EVENTS + u64::from(input.byte() & 63) * 16;
                xhci.bar_write(0, INTERRUPTER + 0x18, 4, taken | 8);
            }
            14 => {
                gate.set(RateLimit::default());
                begin(&mut xhci, &memory);
            }
            _ => xhci.reset(),
        }
    }
}
