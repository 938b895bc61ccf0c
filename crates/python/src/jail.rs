//! The jail, from Python's frozen dataclass.

use std::path::PathBuf;

use ::jail::{Enforcement, Needs};
use pyo3::prelude::*;

use crate::errors::{raise, sentence};

/// `innkeeper.vm.jail.Needs`.
#[derive(Debug, FromPyObject)]
pub(crate) struct JailNeeds {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    has_folders: bool,
    devices: Vec<PathBuf>,
    network: bool,
    tap: bool,
}

/// `innkeeper._core.enter_jail`.
#[pyfunction]
pub(crate) fn enter_jail(py: Python<'_>, needs: JailNeeds) -> PyResult<Vec<&'static str>> {
    let needs = Needs {
        read: needs.read,
        write: needs.write,
        folders: needs.folders,
        has_folders: needs.has_folders,
        devices: needs.devices,
        network: needs.network,
        tap: needs.tap,
    };
    let walls =
        ::jail::enter(&needs).map_err(|error| raise(py, "HostFailure", (sentence(&error),)))?;
    let landlock = match walls.landlock {
        Enforcement::Full => Some("landlock"),
        Enforcement::Partial => Some("a part of landlock"),
        Enforcement::None => None,
    };
    let namespaces = walls.namespaces.then_some("namespaces");
    let seccomp = walls.seccomp.then_some("seccomp");
    Ok([landlock, namespaces, seccomp]
        .into_iter()
        .flatten()
        .collect())
}
