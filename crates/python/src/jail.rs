//! The jail, from Python's frozen dataclass.

use std::path::PathBuf;

use ::jail::{Enforcement, Needs, User, Walls};
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
    user: Option<u32>,
}

/// `innkeeper._core.enter_jail`.
#[pyfunction]
pub(crate) fn enter_jail(py: Python<'_>, needs: JailNeeds) -> PyResult<(Vec<String>, Vec<String>)> {
    let needs = Needs {
        read: needs.read,
        write: needs.write,
        folders: needs.folders,
        has_folders: needs.has_folders,
        devices: needs.devices,
        network: needs.network,
        tap: needs.tap,
        user: needs.user,
    };
    let walls =
        ::jail::enter(&needs).map_err(|error| raise(py, "HostFailure", (sentence(&error),)))?;
    Ok((named(&walls), walls.missing))
}

/// `innkeeper._core.separate_children`.
#[pyfunction]
pub(crate) fn separate_children(network: bool, tap: bool) -> Option<String> {
    let needs = Needs {
        network,
        tap,
        ..Needs::default()
    };
    ::jail::separate_children(&needs).err()
}

/// `innkeeper._core.adopt`.
#[pyfunction]
pub(crate) fn adopt() -> std::io::Result<()> {
    ::jail::adopt()
}

fn named(walls: &Walls) -> Vec<String> {
    let landlock = match walls.landlock {
        Enforcement::Full => Some("landlock".to_owned()),
        Enforcement::Partial => Some("a part of landlock".to_owned()),
        Enforcement::None => None,
    };
    let namespaces = match walls.namespaces.as_slice() {
        [] => None,
        kinds => Some(format!("namespaces: {}", kinds.join(", "))),
    };
    let user = match walls.user {
        User::Same => None,
        User::Namespace => Some("user namespace".to_owned()),
        User::Own(user) => Some(format!("user {user}")),
    };
    let root = walls.root.then(|| "root directory".to_owned());
    let seccomp = walls.seccomp.then(|| "seccomp".to_owned());
    let all = [seccomp, landlock, root, user, namespaces];
    all.into_iter().flatten().collect()
}
