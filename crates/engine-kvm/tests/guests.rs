//! The guest tests of `tests/guests` on this host's KVM.

use engine::{Engine, EngineError};
use engine_kvm::{KvmEngine, measure};
use engine_tests::Verdict;

/// What must pass even where the host's kernel emulates ring 0: every mode and the ways between
/// them. Of the others its emulator gets some wrong (data breakpoints, the halves of a store over a
/// page boundary, task switches), and ring 3 runs there with the host's own selectors; those are
/// printed, and hold us to nothing. On hardware all must pass.
const EVEN_EMULATED: &[&str] = &[
    "accessed_and_dirty",
    "add_overflow",
    "control_reserved_bit",
    "gs_base",
    "idiv_overflow",
    "invlpg",
    "iretq_compatibility",
    "non_canonical_stack",
    "page_fault_user_write",
    "protected_far_call",
    "protected_to_long",
    "real_far_call",
    "real_interrupt",
    "real_to_protected",
    "rep_movsb_overlap",
    "segment_limit",
    "segment_not_present",
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
    let make =
        |memory| -> Result<Box<dyn Engine>, EngineError> { Ok(Box::new(KvmEngine::new(memory)?)) };
    let report = match engine_tests::guests::run_all(&make, "kvm") {
        Ok(report) => report,
        Err(error) => {
            println!("skipped: NASM cannot be run: {error}");
            return;
        }
    };
    println!("{report}");
    if measurement.is_worth_having() {
        let failures = report.failures(false);
        assert!(failures.is_empty(), "{failures:?}\n{report}");
        return;
    }
    for name in EVEN_EMULATED {
        let verdict = report.verdicts.iter().find(|(known, _)| known == name);
        let verdict = verdict.map(|(_, verdict)| verdict);
        assert_eq!(verdict, Some(&Verdict::Passed), "{name}");
    }
}
