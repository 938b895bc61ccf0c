//! Rust's errors as the exceptions of `innkeeper.errors`, each one sentence.

use std::error::Error;

use machine::MachineError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The class by its name in `innkeeper.errors`, made with `arguments`.
pub(crate) fn raise<'py, A>(py: Python<'py>, class: &str, arguments: A) -> PyErr
where
    A: pyo3::call::PyCallArgs<'py>,
{
    let made = py
        .import("innkeeper.errors")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1(arguments));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

pub(crate) fn machine_error(py: Python<'_>, error: &MachineError) -> PyErr {
    raise(py, class(error), (sentence(error),))
}

/// Bad input is the user's to mend, an engine's absence the host's nature, the rest a host failure.
fn class(error: &MachineError) -> &'static str {
    match error {
        MachineError::TooLittleMemory { .. }
        | MachineError::TooMuchMemory { .. }
        | MachineError::OddMemory { .. }
        | MachineError::Vcpus { .. }
        | MachineError::CpuModel(_)
        | MachineError::Boot(_)
        | MachineError::Disk { .. }
        | MachineError::Attach { .. }
        | MachineError::NoSlot { .. }
        | MachineError::IdTaken { .. }
        | MachineError::NotPlugged { .. }
        | MachineError::NoDrive { .. }
        | MachineError::TooManySataDrives { .. }
        | MachineError::TooManyUsbDisks { .. }
        | MachineError::NoMedium { .. }
        | MachineError::FloppySize { .. }
        | MachineError::NoHotPlug
        | MachineError::Speaker
        | MachineError::NoCode { .. } => "InvalidInput",
        MachineError::Engine { .. } => "EngineUnavailable",
        _ => "HostFailure",
    }
}

/// An error and its causes, one after the other.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = words(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = words(inner);
        // Some errors already quote their cause.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// What an error says, without the number that Rust puts behind the host's words: nobody looks for that.
fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    if text.ends_with(')')
        && let Some(at) = text.rfind(" (os error ")
    {
        text.truncate(at);
    }
    text
}

/// A thread panicked while it held the machine.
pub(crate) fn poisoned() -> PyErr {
    PyRuntimeError::new_err("the machine failed in another thread")
}
