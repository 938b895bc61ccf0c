//! What a guest of a few instructions tells of itself while it runs.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use devices::{Device, DeviceState, RestoreError, decode_state, encode_state};
use machine::{EngineChoice, MachineControl, MachineStats, Outcome};
use tiny_guest::{Built, EXIT_PORT, exits, guest, stats_until};

#[test]
fn a_guest_tells_its_statistics_while_it_runs() {
    // out 80h, al; jmp to it
    let built = Built {
        engine: EngineChoice::Translator,
        vcpus: 2,
        times: true,
        ..Built::default()
    };
    let mut guest = built.guest("stats", &[0xe6, 0x80, 0xeb, 0xfc]);
    let control = guest.machine.control();
    assert!(control.stats().is_none(), "it does not run yet");
    let asking = std::thread::spawn({
        let control = control.clone();
        move || {
            let writes = |stats: &MachineStats| exits(stats, "port write");
            let first = stats_until(&control, |stats| writes(stats) > 100);
            let second = stats_until(&control, |stats| writes(stats) > writes(&first));
            // The other processor waits to be started, which is a sleep.
            let was = |vcpu: usize, place| {
                move |stats: &MachineStats| stats.vcpus[vcpu].times.iter().any(|it| it.0 == place)
            };
            stats_until(&control, was(0, "machine"));
            stats_until(&control, was(1, "asleep"));
            control.stop();
            second
        }
    });
    assert_eq!(guest.run(), Outcome::Stopped);
    let told = asking.join().expect("what was asked");
    assert_eq!(told.engine, "translator");
    assert!(control.stats().is_none(), "it does not run any more");
    let after = guest.machine.stats();
    assert!(after.vcpus[0].engine.exits >= told.vcpus[0].engine.exits);
    let units = |(name, _): &&(String, u64)| name == "units translated";
    assert!(after.vcpus[0].engine.counters.iter().any(|it| units(&it)));
}

#[test]
fn a_paused_guest_tells_its_statistics_and_stays_paused() {
    let mut guest = guest("paused", &[0xe6, 0x80, 0xeb, 0xfc], 1);
    let control = guest.machine.control();
    let asking = std::thread::spawn(move || {
        stats_until(&control, |stats| stats.vcpus[0].engine.exits > 10);
        control.pause();
        let first = stats_until(&control, |_| true);
        let second = stats_until(&control, |_| true);
        control.stop();
        (first, second)
    });
    assert_eq!(guest.run(), Outcome::Stopped);
    let (first, second) = asking.join().expect("what was asked");
    assert_eq!(first.vcpus[0].exits, second.vcpus[0].exits);
}

/// A device that asks for statistics in the middle of an access.
#[derive(Debug)]
struct Asking(MachineControl);

impl Device for Asking {
    fn kind(&self) -> &'static str {
        "test-asking"
    }

    fn read(&mut self, _offset: u64, _size: u8) -> u64 {
        u64::from(self.0.stats().is_some())
    }

    fn write(&mut self, _offset: u64, _size: u8, _value: u64) {}

    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        encode_state("test-asking", 1, &())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        decode_state("test-asking", 1, state)
    }
}

#[test]
fn a_device_that_asks_for_statistics_gets_none_and_goes_on() {
    // xor eax, eax; in al, 80h; out 0f4h, eax
    let code = [0x31, 0xc0, 0xe4, 0x80, 0xe7, EXIT_PORT as u8];
    let mut guest = guest("asking", &code, 1);
    let asking = Box::new(Asking(guest.machine.control()));
    let attached = guest.machine.attach_port_device(0x80, 1, asking);
    attached.expect("a free port");
    assert_eq!(guest.run(), Outcome::DeviceExit(0));
}
