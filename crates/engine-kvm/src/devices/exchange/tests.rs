use std::array;

use kvm_ioctls::Kvm;
use x86::chips::{Chips, IoApicRegisters, PicRegisters, PitChannel};

use crate::devices::{DevicesV1, restore, save};
use crate::{chips_of, state_of};

/// Chips of which no two fields agree.
fn odd() -> Chips {
    let pic = |n: u8| PicRegisters {
        levels: 0x50 + n * 2,
        irr: 0x40 + n,
        imr: 0xa1 + n * 0x5e,
        isr: 0x04,
        elcr: 0x18,
        first: 3 + n,
        vector_base: 0x30 + 8 * n,
        expects: 3 * n,
        wants_icw4: true,
        read_isr: n == 0,
        poll: n == 1,
        special_mask: n == 0,
        special_nested: n == 1,
        auto_eoi: n == 0,
        rotate_on_auto_eoi: n == 1,
    };
    let channel = |n: u8| PitChannel {
        mode: Some(2 + n),
        count: 0x1234 + u32::from(n),
        bcd: n == 1,
        gate: n == 0,
        access: 3,
        read_high: n == 1,
        low_written: (n == 2).then_some(7),
        latched: (n == 1).then_some(0x5678),
        status: (n == 0).then_some(0x36),
        elapsed: 0,
    };
    Chips {
        pics: [pic(0), pic(1)],
        ioapic: IoApicRegisters {
            id: 5,
            select: 0x12,
            levels: 1 << 10,
            table: array::from_fn(|pin| 0x0200_0000_0001_8030 + pin as u64),
        },
        pit: [channel(0), channel(1), channel(2)],
        speaker: 2,
        clock: 123_456_789,
    }
}

#[test]
fn chips_come_back() {
    let chips = odd();
    assert_eq!(DevicesV1::of_chips(&chips).chips(), chips);
    assert_eq!(chips_of(&state_of(&chips).unwrap()).unwrap(), chips);
}

#[test]
fn the_timer_s_wire_is_low_between_its_interrupts() {
    let mut chips = odd();
    chips.pics[0].levels |= 1;
    let kept = DevicesV1::of_chips(&chips).chips();
    assert_eq!(kept.pics, odd().pics);
}

#[test]
fn a_counter_without_a_count_stays_so() {
    let mut chips = odd();
    chips.pit[2].mode = None;
    assert_eq!(DevicesV1::of_chips(&chips).chips().pit[2].mode, None);
}

#[test]
fn the_kernel_takes_them_and_has_them() {
    let Ok(kvm) = Kvm::new() else {
        eprintln!("not tested with the kernel: no /dev/kvm");
        return;
    };
    let fd = kvm.create_vm().unwrap();
    fd.create_irq_chip().unwrap();
    fd.create_pit2(kvm_bindings::kvm_pit_config::default())
        .unwrap();
    let mut chips = odd();
    // The kernel delivers at once what is not masked, and drops levels that nobody drives.
    chips.ioapic.levels = 0;
    restore(&fd, &state_of(&chips).unwrap()).unwrap();
    let mut found = chips_of(&save(&fd).unwrap()).unwrap();
    assert!(found.clock >= chips.clock);
    found.clock = chips.clock;
    assert_eq!(found, chips);
}
