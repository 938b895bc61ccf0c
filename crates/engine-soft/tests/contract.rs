//! The contract tests, and the guests of tests/guests, on each of the software engines.

use engine::{Engine, EngineError};
use engine_soft::SoftEngine;
use memory::GuestMemory;

type Made = Result<Box<dyn Engine>, EngineError>;

fn interpreter(memory: GuestMemory) -> Made {
    Ok(Box::new(SoftEngine::new(memory)))
}

/// All code translated at once, so that even short tests run in it.
fn translator(memory: GuestMemory) -> Made {
    Ok(Box::new(SoftEngine::translator_after(memory, 1)))
}

fn lockstep(memory: GuestMemory) -> Made {
    Ok(Box::new(SoftEngine::lockstep(memory)))
}

fn keeps_the_contract(make: fn(GuestMemory) -> Made) {
    let report = engine_tests::run_all(&make);
    println!("{report}");
    let failures = report.failures(false);
    assert!(failures.is_empty(), "{failures:?}\n{report}");
}

/// `name` is what the guests know the engine by.
fn runs_the_guests(make: fn(GuestMemory) -> Made, name: &str) {
    let report = match engine_tests::guests::run_all(&make, name) {
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
fn the_interpreter_keeps_the_contract() {
    keeps_the_contract(interpreter);
}

#[test]
fn the_translator_keeps_the_contract() {
    keeps_the_contract(translator);
}

#[test]
fn the_interpreter_runs_the_guests() {
    runs_the_guests(interpreter, "interpreter");
}

#[test]
fn the_translator_runs_the_guests() {
    runs_the_guests(translator, "translator");
}

/// The guests have one vCPU each, as lockstep needs.
#[test]
fn lockstep_runs_the_guests() {
    runs_the_guests(lockstep, "translator");
}
