//! A guest that is kept to a share of the host's processors. The only test in this program: a guest's
//! share is counted for its process.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use std::time::{Duration, Instant};

use machine::{EngineChoice, Limits, MachineControl, Outcome};
use rustix::time::{ClockId, clock_gettime};
use tiny_guest::Built;

fn taken() -> Duration {
    let taken = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(taken).expect("a time since the start")
}

/// Of a processor, in a second.
fn share(control: &MachineControl, limits: &Limits) -> f64 {
    control.set_limits(limits);
    let (begun, before) = (Instant::now(), taken());
    std::thread::sleep(Duration::from_secs(1));
    let share = (taken() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    // It goes on, and answers.
    let exits = exits_beyond(control, 0);
    exits_beyond(control, exits);
    share
}

/// Waits until the guest has left its engine more than `before` times. Asks now and then: asking takes
/// of the guest's share.
fn exits_beyond(control: &MachineControl, before: u64) -> u64 {
    loop {
        let stats = control.stats().expect("a guest that runs");
        match stats.vcpus[0].engine.exits {
            exits if exits > before => return exits,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[test]
fn a_guest_takes_no_more_than_its_share() {
    let of_cpu = |cpu| Limits {
        cpu: Some(cpu),
        ..Limits::default()
    };
    for engine in [EngineChoice::Interpreter, EngineChoice::Translator] {
        let built = Built {
            engine,
            limits: of_cpu(0.1),
            ..Built::default()
        };
        // out 80h, al; jmp to it
        let mut guest = built.guest("limits", &[0xe6, 0x80, 0xeb, 0xfc]);
        let control = guest.machine.control();
        let asking = std::thread::spawn(move || {
            while control.stats().is_none() {
                std::thread::yield_now();
            }
            let narrow = share(&control, &of_cpu(0.1));
            let wide = share(&control, &of_cpu(0.4));
            let free = share(&control, &Limits::default());
            control.stop();
            (narrow, wide, free)
        });
        assert_eq!(guest.run(), Outcome::Stopped);
        let (narrow, wide, free) = asking.join().expect("what was measured");
        // A host with much else to do may give it less; a tenth above is for what it may save up.
        assert!(narrow < 0.16, "{narrow} rather than 0.1");
        assert!(wide < 0.48, "{wide} rather than 0.4");
        assert!(free > narrow, "{free} when there was no limit any more");
    }
}
