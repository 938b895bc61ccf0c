//! What this host's engines can do.

use pyo3::prelude::*;

/// `innkeeper._core.EngineReport`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct EngineReport {
    name: &'static str,
    usable: bool,
    chosen: bool,
    reason: String,
    speed: Option<f64>,
}

/// What is found out about the host, or made, once in a process, before others are forked from it.
#[pyfunction]
pub(crate) fn rehearse(py: Python<'_>) {
    py.detach(|| {
        machine::rehearse();
        // Whoever goes into a jail hears what is wrong with it.
        drop(::jail::prepare());
    });
}

#[pyfunction]
pub(crate) fn engines(py: Python<'_>) -> Vec<EngineReport> {
    let found = py.detach(machine::survey);
    found
        .into_iter()
        .map(|finding| EngineReport {
            name: finding.name,
            usable: finding.usable,
            chosen: finding.chosen,
            reason: finding.reason,
            speed: finding.instructions_per_second,
        })
        .collect()
}
