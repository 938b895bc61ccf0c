//! A sound card: registers in any order while time passes, lists of buffers that lie, states.

use std::sync::Arc;

use devices::pci::PciFunction;
use devices::sound::{Ac97, Ac97Parts};
use devices::testing::{FakeClock, FakeLine, FakeTimer};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use crate::Input;
use crate::pc::states;

const RAM: u64 = 0x2_0000;

pub(crate) fn card(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).expect("memory");
    let clock = FakeClock::new();
    let mut card = Ac97::new(Ac97Parts {
        memory: memory.clone(),
        clock: Arc::clone(&clock) as _,
        timer: FakeTimer::new(),
        line: FakeLine::new(),
        output: None,
    });
    let alarm = card.alarm();
    card.config_write(0x04, 2, 5);
    card.bar_write(1, 0x2c, 4, 2);
    while !input.is_empty() {
        let what = input.byte();
        let size = [1, 2, 4, 8][usize::from(what >> 6)];
        let offset = u64::from(input.byte() & 0x38);
        match what & 15 {
            0 | 1 => card.bar_write(1, offset, size, input.number()),
            2 => card.bar_write(0, offset * 2, size, input.number()),
            3 => {
                card.bar_read(what >> 4 & 1, offset, size);
            }
            4 => card.bar_write(1, offset & 0x30, 4, u64::from(input.u16())),
            5 => card.bar_write(1, (offset & 0x30) + 5, 1, input.byte().into()),
            6 => card.bar_write(1, (offset & 0x30) + 11, 1, input.byte().into()),
            7 | 8 => {
                let entry = [input.u32() & 0x1_ffff, input.u32()];
                let at = GuestAddress(u64::from(input.u16()) * 2);
                let _ = memory.ram().write_obj(entry, at);
            }
            9..=11 => {
                clock.advance(input.number() & 0x7fff_ffff);
                alarm(0);
            }
            12 => states(&mut card, &mut input),
            13 => card.quiesce(),
            14 => card.resume(),
            _ => card.config_write(0x04, 2, input.byte().into()),
        }
    }
}
