use std::sync::Arc;

use x86::msr;

use super::{Effect, Lapic, LapicParts, reg};
use crate::irqchip::message::{DeliveryMode, Destination, Message};
use crate::irqchip::testing::{FakeEvents, FakeTsc};
use crate::testing::{FakeClock, FakeTimer};

struct Bench {
    apic: Lapic,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    events: Arc<FakeEvents>,
}

fn bench_of(cpu: u32) -> Bench {
    let (clock, timer, events) = (FakeClock::new(), FakeTimer::new(), FakeEvents::new());
    let parts = LapicParts {
        clock: clock.clone(),
        timer: timer.clone(),
        tsc: Arc::new(FakeTsc),
        events: events.clone(),
        physical_bits: 40,
        has_x2apic: true,
    };
    Bench {
        apic: Lapic::new(cpu, parts),
        clock,
        timer,
        events,
    }
}

/// An APIC that software has enabled.
fn bench() -> Bench {
    let mut bench = bench_of(0);
    write(&mut bench.apic, reg::SVR, 0x1ff);
    bench
}

fn write(apic: &mut Lapic, register: usize, value: u32) -> Option<Effect> {
    apic.write_page(register as u64 * 16, 4, value.into())
}

fn read(apic: &mut Lapic, register: usize) -> u32 {
    u32::try_from(apic.read_page(register as u64 * 16, 4)).unwrap()
}

fn fixed(vector: u8, level_triggered: bool) -> Message {
    Message {
        mode: DeliveryMode::Fixed,
        vector,
        level_triggered,
        destination: Destination::Everyone,
    }
}

fn to_x2apic(apic: &mut Lapic) {
    let base = apic.read_msr(msr::APIC_BASE).unwrap();
    apic.write_msr(msr::APIC_BASE, base | 0x400).unwrap();
}

#[test]
fn state_after_reset() {
    let mut apic = bench_of(0).apic;
    assert_eq!(apic.read_msr(msr::APIC_BASE), Ok(0xfee0_0900));
    assert_eq!(read(&mut apic, reg::VERSION), 0x0105_0014);
    assert_eq!(read(&mut apic, reg::SVR), 0xff);
    assert_eq!(read(&mut apic, reg::DFR), 0xffff_ffff);
    assert_eq!(read(&mut apic, reg::LVT_TIMER), 0x1_0000);
    assert_eq!(read(&mut apic, reg::LVT_LINT0), 0x700);
    let mut second = bench_of(3).apic;
    assert_eq!(second.read_msr(msr::APIC_BASE), Ok(0xfee0_0800));
    assert_eq!(read(&mut second, reg::ID), 0x0300_0000);
    assert_eq!(read(&mut second, reg::LVT_LINT0), 0x1_0000);
}

#[test]
fn vectors_come_in_the_order_of_their_priority_class() {
    let Bench {
        mut apic, events, ..
    } = bench();
    let glance = apic.glance();
    apic.accept(&fixed(0x31, false));
    assert!(glance.deliverable());
    assert_eq!(events.take(), ["interrupt 0"]);
    apic.accept(&fixed(0x85, false));
    apic.accept(&fixed(0x82, false));
    assert_eq!(apic.acknowledge(), Some(0x85));
    assert_eq!(apic.processor_priority(), 0x80);
    assert!(!glance.deliverable(), "82h is of the same class as 85h");
    apic.accept(&fixed(0x91, false));
    assert_eq!(apic.acknowledge(), Some(0x91), "nests");
    assert_eq!(write(&mut apic, reg::EOI, 0), None);
    assert_eq!(apic.acknowledge(), None);
    write(&mut apic, reg::EOI, 0);
    assert_eq!(apic.acknowledge(), Some(0x82));
    write(&mut apic, reg::EOI, 0);
    assert_eq!(apic.acknowledge(), Some(0x31));
}

#[test]
fn the_task_priority_holds_vectors_back() {
    let mut apic = bench().apic;
    let glance = apic.glance();
    apic.set_task_priority(0x50);
    apic.accept(&fixed(0x5f, false));
    assert!(!glance.deliverable());
    assert_eq!(read(&mut apic, reg::PPR), 0x50);
    apic.set_task_priority(0x40);
    assert!(glance.deliverable());
    assert_eq!(glance.task_priority(), 0x40);
}

#[test]
fn only_a_level_triggered_eoi_goes_to_the_io_apic() {
    let mut apic = bench().apic;
    apic.accept(&fixed(0x40, true));
    apic.acknowledge();
    assert_eq!(
        write(&mut apic, reg::EOI, 0),
        Some(Effect::EndOfInterrupt(0x40))
    );
    write(&mut apic, reg::SVR, 0x11ff);
    apic.accept(&fixed(0x40, true));
    apic.acknowledge();
    assert_eq!(write(&mut apic, reg::EOI, 0), None, "broadcast suppressed");
    assert_eq!(write(&mut apic, reg::EOI, 0), None, "nothing in service");
}

#[test]
fn a_one_shot_timer_fires_once() {
    let Bench {
        mut apic,
        clock,
        timer,
        ..
    } = bench();
    write(&mut apic, reg::DIVIDE, 0xb);
    write(&mut apic, reg::LVT_TIMER, 0x30);
    write(&mut apic, reg::INITIAL_COUNT, 1000);
    assert_eq!(timer.deadline(), Some(1000));
    clock.set(400);
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 600);
    clock.set(1001);
    apic.sync_timer();
    assert_eq!(apic.acknowledge(), Some(0x30));
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 0);
    assert_eq!(read(&mut apic, reg::INITIAL_COUNT), 1000);
    clock.set(5000);
    apic.sync_timer();
    assert_eq!(apic.acknowledge(), None);
}

#[test]
fn a_periodic_timer_keeps_its_beat_and_makes_one_of_many_missed() {
    let Bench {
        mut apic,
        clock,
        timer,
        ..
    } = bench();
    write(&mut apic, reg::DIVIDE, 0x3);
    write(&mut apic, reg::LVT_TIMER, 0x2_0030);
    write(&mut apic, reg::INITIAL_COUNT, 62_500);
    clock.set(1_000_700);
    apic.sync_timer();
    assert_eq!(timer.deadline(), Some(2_000_000));
    clock.set(7_500_000);
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 31_250);
    assert_eq!(timer.deadline(), Some(8_000_000));
    assert_eq!(apic.acknowledge(), Some(0x30));
    write(&mut apic, reg::INITIAL_COUNT, 1);
    assert_eq!(timer.deadline(), Some(7_700_000), "no faster than 5 kHz");
    write(&mut apic, reg::INITIAL_COUNT, 0);
    assert_eq!(timer.deadline(), None);
}

#[test]
fn changing_between_one_shot_and_periodic_lets_the_count_run() {
    let Bench {
        mut apic, clock, ..
    } = bench();
    write(&mut apic, reg::DIVIDE, 0xb);
    write(&mut apic, reg::INITIAL_COUNT, 1_000_000);
    clock.set(600_000);
    write(&mut apic, reg::LVT_TIMER, 0x3_0030);
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 400_000);
    clock.set(1_100_000);
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 900_000);
    write(&mut apic, reg::LVT_TIMER, 0x1_0030);
    clock.set(2_000_001);
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 0);
    write(&mut apic, reg::LVT_TIMER, 0x3_0030);
    assert_eq!(read(&mut apic, reg::CURRENT_COUNT), 0);
}

#[test]
fn tsc_deadline() {
    let Bench {
        mut apic,
        clock,
        timer,
        ..
    } = bench();
    apic.write_msr(msr::TSC_DEADLINE, 77).unwrap();
    assert_eq!(apic.read_msr(msr::TSC_DEADLINE), Ok(0), "in one-shot mode");
    write(&mut apic, reg::LVT_TIMER, 0x4_0044);
    apic.write_msr(msr::TSC_DEADLINE, 2000).unwrap();
    assert_eq!(timer.deadline(), Some(1000), "the TSC runs at 2 GHz");
    assert_eq!(apic.read_msr(msr::TSC_DEADLINE), Ok(2000));
    write(&mut apic, reg::INITIAL_COUNT, 5);
    assert_eq!(read(&mut apic, reg::INITIAL_COUNT), 0);
    clock.set(1000);
    apic.sync_timer();
    assert_eq!(apic.read_msr(msr::TSC_DEADLINE), Ok(0));
    assert_eq!(apic.acknowledge(), Some(0x44));
    write(&mut apic, reg::EOI, 0);
    apic.write_msr(msr::TSC_DEADLINE, 3).unwrap();
    assert_eq!(apic.acknowledge(), Some(0x44), "already past");
    apic.write_msr(msr::TSC_DEADLINE, u64::MAX).unwrap();
    write(&mut apic, reg::LVT_TIMER, 0x44);
    assert_eq!(timer.deadline(), None);
}

#[test]
fn lint_pins() {
    let Bench {
        mut apic, events, ..
    } = bench();
    write(&mut apic, reg::LVT_LINT0, 0x700);
    write(&mut apic, reg::LVT_LINT1, 0x400);
    apic.set_lint(0, true);
    assert!(apic.takes_external());
    assert_eq!(events.take(), ["interrupt 0"]);
    write(&mut apic, reg::LVT_LINT0, 0x1_0700);
    assert!(!apic.takes_external());
    apic.set_lint(1, true);
    apic.set_lint(1, true);
    assert_eq!(events.take(), ["nmi 0"]);
}

#[test]
fn a_level_triggered_lint0_asks_until_it_falls() {
    let mut apic = bench().apic;
    write(&mut apic, reg::LVT_LINT0, 0x8055);
    apic.set_lint(0, true);
    assert_eq!(read(&mut apic, reg::LVT_LINT0), 0xc055);
    assert_eq!(apic.acknowledge(), Some(0x55));
    write(&mut apic, reg::EOI, 0);
    assert_eq!(apic.acknowledge(), Some(0x55));
    apic.set_lint(0, false);
    write(&mut apic, reg::EOI, 0);
    assert_eq!(read(&mut apic, reg::LVT_LINT0), 0x8055);
    assert_eq!(apic.acknowledge(), None);
}

#[test]
fn an_apic_that_is_off_is_a_wire() {
    let Bench {
        mut apic, events, ..
    } = bench();
    let glance = apic.glance();
    assert_eq!(glance.page(), Some(0xfee0_0000));
    apic.write_msr(msr::APIC_BASE, 0xfee0_0000).unwrap();
    assert_eq!(glance.page(), None);
    apic.set_lint(0, true);
    assert!(glance.deliverable() && apic.takes_external());
    apic.accept(&fixed(0x50, false));
    assert_eq!(apic.acknowledge(), None);
    apic.set_lint(1, true);
    assert_eq!(events.take(), ["interrupt 0", "nmi 0"]);
}

#[test]
fn base_register_transitions() {
    let mut apic = bench_of(1).apic;
    let mut write = |value| apic.write_msr(msr::APIC_BASE, value).is_ok();
    assert!(!write(0xfee0_0400), "x2APIC without enable");
    assert!(!write(0xfee0_0801), "reserved bit");
    assert!(!write(0x100_fee0_0800), "beyond MAXPHYADDR");
    assert!(write(0xfee0_0c00));
    assert!(!write(0xfee0_0800), "x2APIC to xAPIC");
    assert!(write(0xfee0_0000));
    assert!(!write(0xfee0_0c00), "off to x2APIC");
    assert!(write(0x1234_5800));
    assert_eq!(apic.glance().page(), Some(0x1234_5000));
}

#[test]
fn a_model_without_x2apic_has_no_such_mode() {
    let mut apic = bench().apic;
    apic.has_x2apic = false;
    let base = apic.read_msr(msr::APIC_BASE).unwrap();
    assert!(apic.write_msr(msr::APIC_BASE, base | 0x400).is_err());
    assert_eq!(apic.read_msr(msr::APIC_BASE), Ok(base));
}

#[test]
fn x2apic_registers_and_faults() {
    let mut apic = bench_of(0x25).apic;
    assert!(apic.read_msr(0x802).is_err(), "not in x2APIC mode");
    to_x2apic(&mut apic);
    assert_eq!(apic.glance().page(), None);
    assert_eq!(apic.read_msr(0x802), Ok(0x25));
    assert_eq!(apic.read_msr(0x80d), Ok(0x2_0020));
    for index in [0x80b, 0x83f, 0x80e, 0x831, 0x8ff, 0x840] {
        assert!(apic.read_msr(index).is_err(), "{index:#x}");
    }
    for (index, value) in [
        (0x802, 0),
        (0x803, 0),
        (0x80a, 0),
        (0x808, 0x100),
        (0x808, 1 << 32),
        (0x80b, 1),
        (0x80d, 0),
        (0x828, 1),
        (0x830, 1 << 20),
        (0x832, 1 << 20),
        (0x839, 0),
        (0x83e, 4),
        (0x83f, 0x100),
    ] {
        assert!(apic.write_msr(index, value).is_err(), "{index:#x}");
    }
    assert_eq!(apic.write_msr(0x830, 0x7_0000_4040), {
        Ok(Some(Effect::Send(Message {
            destination: Destination::Physical(7),
            ..fixed(0x40, false)
        })))
    });
    assert_eq!(apic.read_msr(0x830), Ok(0x7_0000_4040));
    assert!(matches!(
        apic.write_msr(0x83f, 0x66),
        Ok(Some(Effect::Send(Message {
            vector: 0x66,
            destination: Destination::Only(0x25),
            ..
        })))
    ));
}

#[test]
fn logical_destinations() {
    let mut apic = bench().apic;
    write(&mut apic, reg::LDR, 0x0200_0000);
    assert!(apic.is_destination(Destination::Logical(0x03)));
    assert!(!apic.is_destination(Destination::Logical(0x04)));
    write(&mut apic, reg::DFR, 0);
    write(&mut apic, reg::LDR, 0x3200_0000);
    assert!(apic.is_destination(Destination::Logical(0x36)));
    assert!(!apic.is_destination(Destination::Logical(0x26)));
    assert!(!apic.is_destination(Destination::Logical(0x31)));
    let mut second = bench_of(0x25).apic;
    to_x2apic(&mut second);
    assert!(second.is_destination(Destination::Logical(0x2_0021)));
    assert!(!second.is_destination(Destination::Logical(0x1_0020)));
}

#[test]
fn errors_are_latched_by_a_write_and_interrupt_once() {
    let mut apic = bench().apic;
    write(&mut apic, reg::LVT_ERROR, 0xfe);
    assert_eq!(write(&mut apic, reg::ICR, 0x4_0003), None);
    assert_eq!(apic.acknowledge(), Some(0xfe));
    assert_eq!(read(&mut apic, reg::ESR), 0);
    apic.accept(&fixed(0x0f, false));
    read(&mut apic, 0x3a);
    write(&mut apic, reg::ESR, 0);
    assert_eq!(read(&mut apic, reg::ESR), 0xe0);
    write(&mut apic, reg::ESR, 0);
    assert_eq!(read(&mut apic, reg::ESR), 0);
    write(&mut apic, reg::LVT_ERROR, 0x05);
    apic.accept(&fixed(0x0f, false));
}

#[test]
fn init_resets_the_apic_but_not_its_mode() {
    let Bench {
        mut apic, events, ..
    } = bench_of(2);
    to_x2apic(&mut apic);
    apic.write_msr(0x80f, 0x1ff).unwrap();
    let message = |mode| Message {
        mode,
        ..fixed(0x9a, false)
    };
    apic.accept(&message(DeliveryMode::Init));
    apic.accept(&message(DeliveryMode::Startup));
    apic.accept(&message(DeliveryMode::Smi));
    assert_eq!(events.take(), ["init 2", "startup 2 9a", "smi 2"]);
    assert_eq!(apic.read_msr(0x80f), Ok(0xff));
    assert_eq!(apic.read_msr(0x802), Ok(2));
}

#[test]
fn page_accesses_of_other_widths() {
    let mut apic = bench().apic;
    assert_eq!(apic.read_page(0x30, 1), 0x14);
    assert_eq!(apic.read_page(0x32, 2), 0x0105);
    assert_eq!(apic.read_page(0x32, 4), 0xffff_ffff);
    assert_eq!(apic.read_page(0x30, 8), u64::MAX);
    apic.write_page(0x80, 1, 0x20);
    apic.write_page(0x84, 4, 0x20);
    assert_eq!(read(&mut apic, reg::TPR), 0);
    for offset in 0..0x1000 {
        for size in [1, 2, 4, 8] {
            apic.read_page(offset, size);
            apic.write_page(offset, size, u64::MAX);
        }
    }
}

#[test]
fn the_state_moves_to_another_apic() {
    let Bench {
        mut apic, clock, ..
    } = bench();
    write(&mut apic, reg::DIVIDE, 0x1);
    write(&mut apic, reg::LVT_TIMER, 0x2_0030);
    write(&mut apic, reg::INITIAL_COUNT, 1_000_000);
    write(&mut apic, reg::ICR, 0x4_0003);
    apic.accept(&fixed(0x61, true));
    apic.accept(&fixed(0x41, false));
    apic.acknowledge();
    apic.set_task_priority(0x20);
    clock.set(1_000_000);
    let saved = apic.state();

    let mut other = bench_of(0);
    other.clock.set(5);
    other.apic.set_state(&saved).unwrap();
    assert_eq!(other.apic.state(), saved);
    assert_eq!(other.timer.deadline(), Some(3_000_005));
    assert_eq!(
        write(&mut other.apic, reg::EOI, 0),
        Some(Effect::EndOfInterrupt(0x61))
    );
    assert_eq!(other.apic.acknowledge(), Some(0x41));
}

#[test]
fn damaged_states_are_refused_and_wild_ones_tamed() {
    let mut apic = bench().apic;
    let before = apic.state();
    for wild in [
        x86::ApicState {
            registers: vec![0; 63],
            ..before.clone()
        },
        x86::ApicState {
            base: 1,
            ..before.clone()
        },
        x86::ApicState {
            base: 0x400,
            ..before.clone()
        },
    ] {
        assert!(apic.set_state(&wild).is_err());
        assert_eq!(apic.state(), before);
    }
    let wild = x86::ApicState {
        registers: vec![u32::MAX; 64],
        base: 0xfee0_0900,
        tsc_deadline: u64::MAX,
    };
    apic.set_state(&wild).unwrap();
    for _ in 16..=255 {
        write(&mut apic, reg::EOI, 0);
    }
    assert!(apic.registers.highest(reg::ISR).is_none());
}
