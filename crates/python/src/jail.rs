//! The jail, from Python's frozen dataclass.

use std::path::PathBuf;

use ::jail::{Enforcement, Needs, ProgramNeeds, User, Walls, Work};
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
    own_code: bool,
}

/// `innkeeper._core.enter_jail`.
#[pyfunction]
pub(crate) fn enter_jail(py: Python<'_>, needs: JailNeeds) -> PyResult<(Vec<String>, Vec<String>)> {
    let own_code = needs.own_code;
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
    rule_threads(own_code).map_err(|error| raise(py, "HostFailure", (sentence(&*error),)))?;
    Ok((named(&walls), walls.missing))
}

/// A person's own code in Python runs on threads of processors, and may do what the process may.
fn rule_threads(own_code: bool) -> Result<(), Box<dyn std::error::Error>> {
    if own_code {
        threads::set_rule(|work| match work {
            threads::Work::Processor => {}
            work => narrow(work),
        })?;
    } else {
        threads::set_rule(narrow)?;
        ::jail::narrow(Work::Desk)?;
    }
    Ok(())
}

fn narrow(work: threads::Work) {
    let work = match work {
        threads::Work::Processor => Work::Processor,
        threads::Work::Device => Work::Device,
        threads::Work::Network => Work::Network,
        threads::Work::Folder => Work::Folder,
        threads::Work::Sockets => Work::Sockets,
        threads::Work::Pager => Work::Pager,
    };
    if let Err(error) = ::jail::narrow(work) {
        // What is not locked in does not begin.
        eprintln!("{}", sentence(&error));
        std::process::abort();
    }
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

/// `innkeeper._core.end_with_parent`.
#[pyfunction]
pub(crate) fn end_with_parent() -> std::io::Result<()> {
    ::jail::end_with_parent()
}

/// `innkeeper._core.confine_program`.
#[pyfunction]
pub(crate) fn confine_program(
    py: Python<'_>,
    run: Vec<PathBuf>,
    devices: Vec<PathBuf>,
    own: PathBuf,
    user: u32,
) -> PyResult<()> {
    let needs = ProgramNeeds {
        run,
        devices,
        own,
        user,
    };
    ::jail::confine_program(&needs).map_err(|error| raise(py, "HostFailure", (sentence(&error),)))
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
