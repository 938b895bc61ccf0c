//! What the machine counted, for Python.

use machine::{MachineStats, VcpuReport};
use pyo3::prelude::*;

/// `innkeeper._core.Statistics`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Statistics {
    engine: &'static str,
    reason: String,
    vcpus: Vec<VcpuStatistics>,
}

/// `innkeeper._core.VcpuStatistics`.
#[pyclass(frozen, get_all, from_py_object, module = "innkeeper._core")]
#[derive(Debug, Clone)]
pub(crate) struct VcpuStatistics {
    instructions: u64,
    exits: Vec<(&'static str, u64)>,
    counters: Vec<(String, u64)>,
    handlers: Vec<(String, u64, u64)>,
    seconds: Vec<(&'static str, f64)>,
}

impl From<MachineStats> for Statistics {
    fn from(stats: MachineStats) -> Self {
        Self {
            engine: stats.engine,
            reason: stats.reason,
            vcpus: stats.vcpus.into_iter().map(VcpuStatistics::from).collect(),
        }
    }
}

impl From<VcpuReport> for VcpuStatistics {
    fn from(report: VcpuReport) -> Self {
        let handlers = report.engine.handlers.into_iter();
        let times = report.times.into_iter();
        Self {
            instructions: report.engine.instructions,
            exits: report.exits,
            counters: report.engine.counters,
            handlers: handlers
                .map(|it| (it.mnemonic, it.untranslated, it.stood_in))
                .collect(),
            seconds: times
                .map(|(place, time)| (place, time.as_secs_f64()))
                .collect(),
        }
    }
}
