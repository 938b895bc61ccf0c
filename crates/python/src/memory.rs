//! What is known of a guest's memory, for Python.

use machine::{MemoryReport, MemoryStatistics};
use pyo3::prelude::*;

/// `innkeeper._core.Memory`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Memory {
    size: u64,
    resident: u64,
    has_balloon: bool,
    balloon_target: u64,
    balloon: u64,
    returned: u64,
    told: u64,
    statistics: Vec<(&'static str, u64)>,
    /// Base, size, what is requested and what is plugged.
    hotplug: Option<(u64, u64, u64, u64)>,
}

impl From<MemoryReport> for Memory {
    fn from(report: MemoryReport) -> Self {
        let has_balloon = report.balloon.is_some();
        let balloon = report.balloon.unwrap_or_default();
        Self {
            size: report.size,
            resident: report.resident,
            has_balloon,
            balloon_target: balloon.target,
            balloon: balloon.actual,
            returned: balloon.returned,
            told: balloon.told,
            statistics: balloon.statistics.map_or_else(Vec::new, named),
            hotplug: report
                .hotplug
                .map(|it| (it.base.0, it.size, it.requested, it.plugged)),
        }
    }
}

fn named(told: MemoryStatistics) -> Vec<(&'static str, u64)> {
    let all = [
        ("swapped_in", told.swapped_in),
        ("swapped_out", told.swapped_out),
        ("major_faults", told.major_faults),
        ("minor_faults", told.minor_faults),
        ("free", told.free),
        ("total", told.total),
        ("available", told.available),
        ("caches", told.caches),
        ("huge_page_allocations", told.huge_page_allocations),
        ("huge_page_failures", told.huge_page_failures),
    ];
    let told = all.into_iter();
    told.filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
