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
