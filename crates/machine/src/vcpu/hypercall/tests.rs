use std::sync::Arc;

use devices::irqchip::testing::{FakeEvents, FakeTsc};
use devices::irqchip::{LapicParts, LocalApics};
use devices::testing::{FakeClock, FakeTimer};

use super::{INVALID, NO_SUCH_HYPERCALL, SEND_IPI, answer};

fn apics(cpus: u32) -> (LocalApics, Arc<FakeEvents>) {
    let events = FakeEvents::new();
    let parts = |_| LapicParts {
        clock: FakeClock::new(),
        timer: FakeTimer::new(),
        tsc: Arc::new(FakeTsc),
        events: events.clone(),
        physical_bits: 46,
        has_x2apic: true,
    };
    (LocalApics::new((0..cpus).map(parts).collect()), events)
}

#[test]
fn an_interrupt_goes_to_every_processor_with_a_bit() {
    let (apics, events) = apics(4);
    let send =
        |low, high, first, command| answer(SEND_IPI, [low, high, first, command], Some(&apics));
    assert_eq!(send(0b101, 0, 1, 0x400), 2);
    assert_eq!(events.take(), ["nmi 1", "nmi 3"]);
    assert_eq!(send(u64::MAX, u64::MAX, 3, 0x400), 1, "those that exist");
    assert_eq!(send(u64::MAX, 0, u64::MAX, 0x30), 0);
    assert_eq!(send(1, 0, 0, 0x500), INVALID, "INIT");
    assert_eq!(send(1, 0, 0, 1 << 18), INVALID, "a shorthand");
}

#[test]
fn the_host_has_nothing_else() {
    assert_eq!(answer(3, [0; 4], None), NO_SUCH_HYPERCALL);
    assert_eq!(answer(SEND_IPI, [1, 0, 0, 0], None), NO_SUCH_HYPERCALL);
}
