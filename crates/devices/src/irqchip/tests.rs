use std::sync::Arc;

use x86::msr;

use super::message::{DeliveryMode, Destination, Message};
use super::testing::{FakeEvents, FakeTsc};
use super::{Irqchip, LapicParts};
use crate::Device;
use crate::ports::locked;
use crate::testing::{FakeClock, FakeTimer};

/// A board of `cpus` processors, every APIC enabled, vectors of the PIC at 20h and 28h.
fn board(cpus: u32) -> (Irqchip, Arc<FakeEvents>) {
    let events = FakeEvents::new();
    let parts = |_| LapicParts {
        clock: FakeClock::new(),
        timer: FakeTimer::new(),
        tsc: Arc::new(FakeTsc),
        events: events.clone(),
        physical_bits: 46,
        has_x2apic: true,
    };
    let chip = Irqchip::new((0..cpus).map(parts).collect());
    for cpu in 0..cpus {
        chip.apics().write_page(cpu, 0xf0, 4, 0x1ff);
        chip.apics()
            .write_page(cpu, 0xd0, 4, u64::from(1u32 << (24 + cpu % 8)));
    }
    for base in [0u64, 0x10] {
        for (offset, word) in [(0, 0x11), (1, 0x20 + base / 2), (1, 4), (1, 1)] {
            locked(&chip.pic()).write(base + offset, 1, word);
        }
    }
    (chip, events)
}

fn set_pin(chip: &Irqchip, pin: u64, entry: u64) {
    let ioapic = chip.ioapic();
    for (half, value) in [(1, entry >> 32), (0, entry & 0xffff_ffff)] {
        locked(&ioapic).write(0, 4, 0x10 + 2 * pin + half);
        locked(&ioapic).write(0x10, 4, value);
    }
}

#[test]
fn an_isa_line_reaches_pic_and_io_apic() {
    let (chip, events) = board(2);
    set_pin(&chip, 2, 1 << 56 | 0x30);
    let line = chip.line(0);
    line.set(true);
    assert_eq!(events.take(), ["interrupt 0", "interrupt 1"]);
    assert_eq!(chip.acknowledge(0), Some(0x20), "PIC, through LINT0");
    assert_eq!(chip.acknowledge(1), Some(0x30), "I/O APIC pin 2");
    assert!(!chip.has_interrupt(0) && !chip.has_interrupt(1));
    assert_eq!(chip.acknowledge(0), None);
}

#[test]
fn a_shared_line_is_high_while_anybody_holds_it() {
    let (chip, _) = board(1);
    set_pin(&chip, 17, 0x8041);
    let (first, second) = (chip.line(17), chip.line(17));
    first.set(true);
    second.set(true);
    first.set(false);
    assert_eq!(chip.acknowledge(0), Some(0x41));
    chip.apics().write_page(0, 0xb0, 4, 0);
    assert_eq!(chip.acknowledge(0), Some(0x41), "still high after the EOI");
    drop(second);
    chip.apics().write_page(0, 0xb0, 4, 0);
    assert!(!chip.has_interrupt(0));
}

#[test]
fn lines_that_do_not_exist_go_nowhere() {
    let (chip, events) = board(1);
    for irq in [2, 24, 255] {
        chip.line(irq).set(true);
    }
    assert!(events.take().is_empty());
    assert!(!chip.has_interrupt(7));
    assert_eq!(chip.acknowledge(u32::MAX), None);
    assert!(chip.apics().read_msr(9, msr::APIC_BASE).is_err());
}

#[test]
fn interprocessor_interrupts_find_their_targets() {
    let (chip, events) = board(4);
    let to_all_but_self = 0xc_40f1;
    chip.apics().write_page(1, 0x300, 4, to_all_but_self);
    assert_eq!(events.take(), ["interrupt 0", "interrupt 2", "interrupt 3"]);
    assert_eq!(chip.acknowledge(2), Some(0xf1));
    chip.apics().write_page(0, 0x310, 4, 3 << 24);
    chip.apics().write_page(0, 0x300, 4, 0x4500);
    chip.apics().write_page(0, 0x300, 4, 0x4608);
    assert_eq!(events.take(), ["init 3", "startup 3 08"]);
    chip.apics().write_page(0, 0x310, 4, 0b110 << 24);
    chip.apics().write_page(0, 0x300, 4, 0x4c00);
    assert_eq!(events.take(), ["nmi 1", "nmi 2"]);
}

#[test]
fn x2apic_interrupts_reach_clusters() {
    let (chip, events) = board(18);
    for cpu in 0..18 {
        chip.apics()
            .write_msr(cpu, msr::APIC_BASE, 0xfee0_0c00)
            .unwrap();
    }
    chip.apics()
        .write_msr(0, 0x830, 0x0001_0003_0000_4870)
        .unwrap();
    assert_eq!(events.take(), ["interrupt 16", "interrupt 17"]);
    assert_eq!(chip.apics().page(3), None);
    chip.apics().write_msr(17, 0x83f, 0x90).unwrap();
    assert_eq!(chip.acknowledge(17), Some(0x90));
    assert_eq!(chip.acknowledge(16), Some(0x70));
}

#[test]
fn lowest_priority_takes_the_idlest_and_spreads() {
    let (chip, _) = board(3);
    chip.apics().set_task_priority(0, 5);
    let message = |vector| Message {
        mode: DeliveryMode::LowestPriority,
        vector,
        level_triggered: false,
        destination: Destination::Everyone,
    };
    chip.apics().deliver(message(0x60));
    chip.apics().deliver(message(0x61));
    assert!(!chip.has_interrupt(0));
    assert!(chip.has_interrupt(1) && chip.has_interrupt(2));
}

#[test]
fn cr8_is_the_upper_half_of_the_task_priority() {
    let (chip, _) = board(1);
    chip.apics().set_task_priority(0, 9);
    assert_eq!(chip.apics().task_priority(0), 9);
    assert_eq!(chip.apics().read_page(0, 0x80, 4), 0x90);
    chip.apics().set_task_priority(0, 0xff);
    assert_eq!(chip.apics().task_priority(0), 15);
}

#[test]
fn the_nmi_button() {
    let (chip, events) = board(2);
    chip.apics().write_page(1, 0x360, 4, 0x400);
    chip.nmi_line().set(true);
    assert_eq!(events.take(), ["nmi 1"]);
}

#[test]
fn states_move_to_another_board() {
    let (chip, _) = board(2);
    chip.apics().deliver(Message {
        mode: DeliveryMode::Fixed,
        vector: 0x55,
        level_triggered: false,
        destination: Destination::Physical(1),
    });
    chip.apics().deliver(Message {
        mode: DeliveryMode::ExtInt,
        vector: 0,
        level_triggered: false,
        destination: Destination::Physical(1),
    });
    let (other, _) = board(2);
    other.apics().set_state(1, &chip.apics().state(1)).unwrap();
    assert_eq!(other.apics().state(1), chip.apics().state(1));
    assert_eq!(
        other.acknowledge(1),
        Some(0x27),
        "spurious: the PIC knows of nothing"
    );
    assert_eq!(other.acknowledge(1), Some(0x55));
    other.apics().reset();
    assert!(!other.has_interrupt(1));
}

#[test]
fn messages_follow_ids_that_the_guest_has_changed() {
    const ID: u64 = 0x20;
    let (chip, events) = board(3);
    let apics = chip.apics();
    let send = |id| {
        apics.deliver(Message {
            mode: DeliveryMode::Nmi,
            vector: 0,
            level_triggered: false,
            destination: Destination::Physical(id),
        });
    };
    apics.write_page(1, ID, 4, 2 << 24);
    assert_eq!(apics.read_page(1, ID, 4), 2 << 24);
    send(1);
    send(2);
    assert_eq!(events.take(), ["nmi 1", "nmi 2"], "both are number 2");
    let saved = apics.state(1);
    apics.reset();
    send(1);
    assert_eq!(events.take(), ["nmi 1"]);
    apics.set_state(1, &saved).expect("a state");
    send(1);
    send(2);
    assert_eq!(events.take(), ["nmi 1", "nmi 2"]);
}
