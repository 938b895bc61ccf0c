//! The guest tests of `tests/guests` on this host's KVM.

use engine::Engine;
use engine_kvm::{KvmEngine, measure};

/// Where the host's kernel emulates ring 0 and runs ring 3 with selectors of its own, these go wrong
/// for reasons that are not ours: the emulator knows no data breakpoints and writes the first half of
/// a store whose second half faults; the guest's ring 3 sees the host's selectors, and SYSCALL leaves
/// it in ring 3.
const EMULATED_RING_0: &[&str] = &[
    "debug_breakpoint",
    "iretq_to_user",
    "page_fault_crossing",
    "syscall_sysret",
];

#[test]
fn kvm_runs_the_guests() {
    let measurement = match measure() {
        Ok(measurement) => measurement,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let make = |memory| -> Result<Box<dyn Engine>, engine::EngineError> {
        Ok(Box::new(KvmEngine::new(memory)?))
    };
    let report = match engine_tests::guests::run_all(&make, "kvm") {
        Ok(report) => report,
        Err(error) => {
            println!("skipped: NASM cannot be run: {error}");
            return;
        }
    };
    println!("{report}");
    let emulated = !measurement.is_worth_having();
    let mut failures = report.failures(emulated);
    failures.retain(|name| !(emulated && EMULATED_RING_0.contains(name)));
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}
