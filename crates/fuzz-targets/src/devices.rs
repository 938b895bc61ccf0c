//! Register spaces: any access in any order while time passes, with the state saved and restored in
//! between; and states made of any bytes.

use std::sync::Arc;

use devices::testing::FakeClock;
use devices::{Clock, Device, DeviceState, MsiSink};

use crate::Input;
use crate::board::{self, Alarmed};

/// What a device has to remember is small, whatever the guest does.
const LARGEST_STATE: usize = 1 << 20;
const SIZES: [u8; 4] = [1, 2, 4, 8];

fn check_size(device: &dyn Device) -> DeviceState {
    let state = device.save();
    assert!(
        state.bytes.len() < LARGEST_STATE,
        "{} remembers {} bytes",
        state.kind,
        state.bytes.len()
    );
    state
}

/// What it saved it takes back, and is the same then. Taking it may bring it up to the present, so
/// that the first time does not count.
fn round_trip(device: &mut dyn Device) {
    for first in [true, false] {
        let saved = check_size(device);
        let restored = device.restore(&saved);
        assert_eq!(restored, Ok(()), "{} refuses its own state", saved.kind);
        if !first {
            assert_eq!(device.save(), saved);
        }
    }
}

/// Some centuries: machines are not restored at later times.
const LATEST: u64 = 1 << 62;

fn advance(clock: &FakeClock, by: u64) {
    clock.set(clock.now().saturating_add(by).min(LATEST));
}

fn act(alarmed: &mut Alarmed, clock: &FakeClock, input: &mut Input<'_>) {
    let what = input.byte();
    let device = alarmed.device.as_mut();
    let size = SIZES[usize::from(what >> 6)];
    let offset = u64::from(input.byte() & 0x3f);
    match what & 15 {
        0..=5 => {
            device.read(offset, size);
        }
        6..=11 => device.write(offset, size, input.number()),
        12 => round_trip(device),
        13 if what & 0x30 == 0 => device.reset(),
        _ => {
            advance(clock, input.number());
            alarmed.expire(clock.now());
        }
    }
}

/// One device of the board.
pub(crate) fn registers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let clock = FakeClock::at_wall(u64::from(input.u32()));
    let mut alarmed = board::device(input.byte(), &clock);
    while !input.is_empty() {
        act(&mut alarmed, &clock, &mut input);
    }
    round_trip(alarmed.device.as_mut());
}

/// One device with a state of any bytes, and then used.
pub(crate) fn states(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let clock = FakeClock::at_wall(u64::from(input.u32()));
    advance(&clock, input.number());
    let mut alarmed = board::device(input.byte(), &clock);
    let device = alarmed.device.as_mut();
    let mut state = device.save();
    forge(&mut state.bytes, &mut input);
    let before = device.save();
    if device.restore(&state).is_err() {
        assert_eq!(device.save(), before, "a refused state left something");
        return;
    }
    check_size(device);
    alarmed.expire(clock.now());
    while !input.is_empty() {
        act(&mut alarmed, &clock, &mut input);
    }
}

/// Damages a state in some places, or replaces it.
pub(crate) fn forge(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let count = input.byte();
    if count >= 0xf0 {
        let len = usize::from(input.byte());
        *bytes = input.take(len).to_vec();
        return;
    }
    for _ in 0..count & 15 {
        let at = usize::from(input.u16()) % bytes.len().max(1);
        let new = input.byte();
        match (count >> 5, bytes.get_mut(at)) {
            (1, _) => bytes.insert(at, new),
            (2, _) => bytes.truncate(at),
            (_, Some(byte)) => *byte = new,
            _ => {}
        }
    }
}

/// The interrupt controllers together, as processors and devices use them.
pub(crate) fn interrupts(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let clock = FakeClock::new();
    let (irqchip, timers) = board::irqchip(&clock);
    let apics = irqchip.apics();
    let lines: Vec<_> = (0..16).map(|irq| irqchip.line(irq)).collect();
    while !input.is_empty() {
        let what = input.byte();
        let cpu = u32::from(what >> 4) % (board::VCPUS + 1);
        match what & 15 {
            0 | 1 => apics.write_page(cpu, u64::from(input.u16()) & 0xfff, 4, input.number()),
            2 => {
                let _ = apics.read_page(
                    cpu,
                    u64::from(input.u16()) & 0xfff,
                    SIZES[usize::from(what >> 6)],
                );
            }
            3 => {
                let index = input.choose(&[0x1b, 0x6e0, 0x808, 0x80b, 0x830, 0x832, 0x838, 0x83f]);
                let _ = apics.write_msr(cpu, index, input.number());
            }
            4 => {
                let _ = apics.write_msr(cpu, 0x800 | u32::from(input.byte()), input.number());
                let _ = apics.read_msr(cpu, 0x800 | u32::from(input.byte()));
            }
            5 => apics.send(0xfee0_0000 | input.number() & 0xf_ffff, input.u32()),
            6 => lines[usize::from(input.byte()) % 16].set(what & 0x10 != 0),
            7 => irqchip.nmi_line().set(what & 0x10 != 0),
            8 | 9 => {
                if irqchip.has_interrupt(cpu) {
                    let _ = irqchip.acknowledge(cpu);
                }
            }
            10 => apics.set_task_priority(cpu, input.byte()),
            11 => {
                let (offset, value) = (u64::from(input.byte() & 0x3f), input.number());
                lock(&irqchip.ioapic()).write(offset, 4, value);
            }
            12 => {
                let (offset, value) = (u64::from(input.byte() & 0x21), input.number());
                lock(&irqchip.pic()).write(offset, 1, value & 0xff);
            }
            13 => {
                let mut state = apics.state(cpu);
                for _ in 0..input.byte() & 7 {
                    let (at, value) = (usize::from(input.byte()), input.u32());
                    match state.registers.get_mut(at) {
                        Some(register) => *register = value,
                        None if at & 1 == 0 => state.base = u64::from(value),
                        None => state.tsc_deadline = u64::from(value) << 16,
                    }
                }
                let _ = apics.set_state(cpu, &state);
            }
            14 => {
                advance(&clock, input.number());
                alarms(apics, &timers, clock.now());
            }
            _ => apics.tsc_moved(cpu),
        }
    }
}

fn alarms(
    apics: &devices::irqchip::LocalApics,
    timers: &[Arc<devices::testing::FakeTimer>],
    now: u64,
) {
    use devices::Timer;
    for (cpu, timer) in (0u32..).zip(timers) {
        let mut left = 10_000;
        while timer.deadline().is_some_and(|deadline| deadline <= now) {
            timer.disarm();
            apics.expire(cpu);
            left -= 1;
            assert!(left > 0, "the APIC timer never stops expiring at {now}");
        }
    }
}

fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
