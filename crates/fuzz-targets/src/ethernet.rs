//! Network cards of the old world: registers in any order and width, rings and descriptors that lie, frames
//! that come back from the wire, saved and forged states.

use devices::ethernet::{CardOptions, E1000Card, Rtl8139Card};
use devices::pci::{OptionRom, PciFunction};
use devices::testing::FakeLine;
use devices::virtio::net::Gates;
use memory::{Gpa, GuestMemory, RamRange};
use netio::{Hub, HubLink};
use vm_memory::{Bytes, GuestAddress};

use crate::pc::states;
use crate::{Input, strict};

const RAM: u64 = 0x2_0000;
/// Registers that make the cards do something, and what enables them.
const E1000: [(u64, u32); 14] = [
    (0x0100, 0x0000_8002),
    (0x0400, 0x0000_000a),
    (0x2800, 0x1000),
    (0x2808, 0x0100),
    (0x2810, 0),
    (0x2818, 15),
    (0x3800, 0x2000),
    (0x3808, 0x0100),
    (0x3810, 0),
    (0x3818, 15),
    (0x00d0, 0xffff),
    (0x0000, 0x4000_0000),
    (0x0014, 0x0001),
    (0x0020, 0x0820_0000),
];
const RTL8139: [(u64, u32); 8] = [
    (0x30, 0x1000),
    (0x44, 0x0f),
    (0x37, 0x0c),
    (0x10, 100),
    (0x14, 1500),
    (0x20, 0x3000),
    (0x24, 0x1_fff0),
    (0x38, 0),
];

pub(crate) fn cards(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let hub = Hub::new();
    let mut world = hub.plug().expect("a port");
    let options = CardOptions {
        mac: [2, 0, 0, 0, 0, 1],
        link: Box::new(hub.plug().expect("a port")),
        gates: Gates::default(),
        rom: OptionRom::default(),
    };
    if input.bool() {
        let card = E1000Card::new(options, memory.clone(), FakeLine::new());
        drive(
            &mut card.expect("descriptors"),
            &E1000,
            &memory,
            &mut world,
            &mut input,
        );
    } else {
        let card = Rtl8139Card::new(options, memory.clone(), FakeLine::new());
        drive(
            &mut card.expect("descriptors"),
            &RTL8139,
            &memory,
            &mut world,
            &mut input,
        );
    }
}

fn drive(
    card: &mut dyn PciFunction,
    registers: &[(u64, u32)],
    memory: &GuestMemory,
    world: &mut HubLink,
    input: &mut Input<'_>,
) {
    card.config_write(0x04, 2, 7);
    while !input.is_empty() {
        let what = input.byte();
        let size = [1, 2, 4, 8][usize::from(what >> 6)];
        let region = if what & 0x20 == 0 { 0 } else { 1 };
        match what & 15 {
            0..=3 => {
                let (register, value) = input.choose(registers);
                let value = if input.bool() { input.u32() } else { value };
                // The registers' region of each; in the one card they are in the other as well.
                let region = u8::from(registers.len() == RTL8139.len());
                card.bar_write(region, register, 4, value.into());
            }
            4 => card.bar_write(
                region,
                offset(region, registers, input),
                size,
                input.number(),
            ),
            5 => {
                card.bar_read(region, offset(region, registers, input), size);
            }
            6..=8 => descriptor(memory, input),
            9 | 10 => {
                let len = usize::from(input.u16() & 0x7ff);
                let mut frame = vec![0xff; 6];
                frame.extend(input.take(16));
                frame.resize(frame.len().max(len), 0x5a);
                world.put(&frame);
                world.take();
            }
            11 => states(card, input),
            12 => card.quiesce(),
            13 => card.resume(),
            14 => card.config_write(0x04, 2, u32::from(input.byte())),
            _ => std::thread::yield_now(),
        }
    }
    card.quiesce();
}

/// Inside a region: 64 bytes of ports, and registers of the card's length.
fn offset(region: u8, registers: &[(u64, u32)], input: &mut Input<'_>) -> u64 {
    let at = u64::from(input.u16());
    match (registers.len() == RTL8139.len(), region) {
        (true, _) => at & 0xf8,
        (false, 0) => at << 1 & 0x1_fff8,
        (false, _) => at & 0x38,
    }
}

/// A descriptor of the e1000's, which is a frame to the other card.
fn descriptor(memory: &GuestMemory, input: &mut Input<'_>) {
    let place = input.choose(&[0x1000, 0x2000, 0x3000]) + u64::from(input.byte() & 15) * 16;
    let address = if input.bool() {
        u64::from(input.u16())
    } else {
        input.number()
    };
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(input.take(8));
    let _ = memory.ram().write_slice(&bytes, GuestAddress(place));
}
