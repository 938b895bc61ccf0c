//! Sound cards: registers in any order while time passes, lists of buffers that lie, states.

use std::sync::{Arc, Mutex};

use devices::isa_dma::IsaDma;
use devices::pci::PciFunction;
use devices::sound::{Ac97, Ac97Parts, Sb16, Sb16Parts};
use devices::testing::{FakeClock, FakeLine, FakeTimer};
use devices::{Clock, Device};
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

/// A Sound Blaster, and the DMA that it goes by.
pub(crate) fn sound_blaster(
    clock: &Arc<FakeClock>,
    timer: &Arc<FakeTimer>,
) -> (Arc<Mutex<IsaDma>>, Sb16) {
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let dma = Arc::new(Mutex::new(IsaDma::new()));
    let card = Sb16::new(Sb16Parts {
        memory: GuestMemory::new(&[ram]).expect("memory"),
        dma: Arc::clone(&dma),
        clock: Arc::clone(clock) as _,
        timer: Arc::clone(timer) as _,
        irqs: std::array::from_fn(|_| FakeLine::new() as _),
        output: None,
    });
    (dma, card)
}

/// Commands that begin something, half of them, while DMA is programmed for it or otherwise.
pub(crate) fn blaster(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let clock = FakeClock::new();
    let timer = FakeTimer::new();
    let (dma, mut card) = sound_blaster(&clock, &timer);
    while !input.is_empty() {
        let what = input.byte();
        match what & 15 {
            0..=4 => card.write(0xc, 1, input.byte().into()),
            5 | 6 => {
                let command = 0xb0 | u64::from(input.byte() & 0x1f);
                for byte in [
                    command,
                    input.byte().into(),
                    what.into(),
                    u64::from(what >> 6),
                ] {
                    card.write(0xc, 1, byte);
                }
            }
            7 => {
                card.write(4, 1, input.byte().into());
                card.write(5, 1, input.byte().into());
            }
            8 => {
                card.read(u64::from(what >> 4), 1);
            }
            9 | 10 => {
                let mut dma = dma.lock().expect("nobody has died");
                dma.write(u64::from(input.byte() & 0x4f), 1, input.byte().into());
            }
            11..=13 => {
                clock.advance(input.number() & 0x7fff_ffff);
                card.expire(clock.now());
            }
            14 => card.reset(),
            _ => {
                let saved = card.save();
                assert_eq!(card.restore(&saved), Ok(()));
                let mut forged = saved.clone();
                crate::devices::forge(&mut forged.bytes, &mut input);
                if card.restore(&forged).is_err() {
                    assert_eq!(card.save(), saved, "a refused state left something");
                }
            }
        }
        assert!(card.save().bytes.len() < 512, "it remembers without end");
    }
}
