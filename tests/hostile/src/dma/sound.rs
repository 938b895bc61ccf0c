//! An AC'97 controller. Spec: Intel 82801AA (ICH) datasheet, "AC'97 Audio Controller".

use super::LISTS;
use crate::Machine;
use crate::hardware_raw::{input, output, store};
use crate::pci::Function;
use crate::random::Random;

const VENDOR: u16 = 0x8086;
const CLASS: u16 = 0x0401;
const BUFFERS: u64 = 32;

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    let cards = Function::all().filter(|function| function.vendor() == VENDOR);
    for function in cards.filter(|function| function.class() == CLASS) {
        let mixer = function.region(0, &mut machine.windows).base as u16;
        let engines = function.region(1, &mut machine.windows).base as u16;
        function.enable(7);
        output(engines + 0x2c, 4, 2);
        for _ in 0..40 {
            let engine = engines + 0x10 * random.below(3) as u16;
            for at in (LISTS..LISTS + BUFFERS * 8).step_by(8) {
                store(at, 4, machine.places.wild32(random));
                store(at + 4, 4, random.below(4) << 30 | random.odd() & 0xffff);
            }
            let list = if random.once_in(4) {
                machine.places.wild32(random)
            } else {
                LISTS
            };
            output(engine, 4, list as u32);
            output(engine + 5, 1, random.below(64) as u32);
            // The fastest there is, or the slowest, or none.
            output(mixer + 0x2c, 2, random.pick(&[48000, 0xffff, 0, 1]));
            output(engine + 0xb, 1, random.pick(&[1, 0x1d, 0x1f, 0]));
            for _ in 0..8 {
                input(engine + random.below(12) as u16, 1);
                if random.once_in(3) {
                    output(
                        engine + random.below(12) as u16,
                        1 << random.below(3),
                        random.odd() as u32,
                    );
                }
            }
        }
        output(engines + 0x2c, 4, 0);
    }
}
