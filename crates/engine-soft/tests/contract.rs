//! The contract tests on the interpreter.

use engine::{Engine, EngineError};
use engine_soft::SoftEngine;
use memory::GuestMemory;

fn make(memory: GuestMemory) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(SoftEngine::new(memory)))
}

#[test]
fn the_interpreter_keeps_the_contract() {
    let report = engine_tests::run_all(&make);
    println!("{report}");
    let failures = report.failures(false);
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}

/// All code translated at once, so that even short tests run in it.
fn make_translator(memory: GuestMemory) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(SoftEngine::translator_after(memory, 1)))
}

#[test]
fn the_translator_keeps_the_contract() {
    let report = engine_tests::run_all(&make_translator);
    println!("{report}");
    let failures = report.failures(false);
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}

#[test]
fn the_translator_runs_the_guests() {
    let report = match engine_tests::guests::run_all(&make_translator, "translator") {
        Ok(report) => report,
        Err(error) => {
            println!("skipped: NASM cannot be run: {error}");
            return;
        }
    };
    println!("{report}");
    let failures = report.failures(false);
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}

#[test]
fn the_interpreter_runs_the_guests() {
    let report = match engine_tests::guests::run_all(&make, "interpreter") {
        Ok(report) => report,
        Err(error) => {
            println!("skipped: NASM cannot be run: {error}");
            return;
        }
    };
    println!("{report}");
    let failures = report.failures(false);
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}

/// The guests have one vCPU each, as lockstep needs.
#[test]
fn lockstep_runs_the_guests() {
    let make = |memory: GuestMemory| Ok(Box::new(SoftEngine::lockstep(memory)) as Box<dyn Engine>);
    let report = match engine_tests::guests::run_all(&make, "translator") {
        Ok(report) => report,
        Err(error) => {
            println!("skipped: NASM cannot be run: {error}");
            return;
        }
    };
    println!("{report}");
    let failures = report.failures(false);
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}
