//! The contract tests on this host's KVM.

use engine::Engine;
use engine_kvm::{KvmEngine, measure};

/// Where ring 0 is emulated there is no TSC offset either: the guest reads the host's TSC.
const EMULATED_RING_0: &[&str] = &["state::time_stamp_counter"];

#[test]
fn kvm_keeps_the_contract() {
    let measurement = match measure() {
        Ok(measurement) => measurement,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    println!("{}", measurement.verdict());
    let report = engine_tests::run_all(&|memory| {
        let engine: Box<dyn Engine> = Box::new(KvmEngine::new(memory)?);
        Ok(engine)
    });
    println!("{report}");
    // Where the host emulates ring 0, it may not know an instruction; that is not our engine's doing.
    let emulated = !measurement.is_worth_having();
    let mut failures = report.failures(emulated);
    failures.retain(|name| !(emulated && EMULATED_RING_0.contains(name)));
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}
