//! Facts about the machine, fetched by DMA. Spec: QEMU docs/specs/fw_cfg.rst, "Guest-side DMA Interface".

use super::LISTS;
use crate::Machine;
use crate::hardware_raw::{output, store};
use crate::random::Random;

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    for _ in 0..60 {
        let key = random.pick(&[
            0,
            1,
            5,
            0x19,
            0x20,
            0x21,
            0x22,
            0x8002,
            random.next() & 0xffff,
        ]);
        let control = random.pick(&[2, 2, 8, 4, 16, 1, 0]) | random.pick(&[0, 8]) | key << 16;
        let len = if random.once_in(3) {
            random.odd()
        } else {
            random.below(0x1_0000)
        };
        store(LISTS, 4, u64::from((control as u32).swap_bytes()));
        store(LISTS + 4, 4, u64::from((len as u32).swap_bytes()));
        store(LISTS + 8, 8, machine.places.wild(random).swap_bytes());
        let at = if random.once_in(6) {
            machine.places.wild(random)
        } else {
            LISTS
        };
        output(0x514, 4, ((at >> 32) as u32).swap_bytes());
        output(0x518, 4, (at as u32).swap_bytes());
    }
}
