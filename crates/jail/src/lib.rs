//! What a guest's process gives up before its guest runs.
//!
//! A flaw in a device may one day let a guest run code of its own in this process. What that code can
//! do then is what is left here: compute, use the descriptors that are open, files of this guest,
//! connections where the guest has a network. Not: start programs or processes, open other files, signal
//! or trace other processes, speak to other guests' sockets, change anything of the system.
//!
//! Several walls stand behind each other, since each has its holes: resource limits, capabilities,
//! namespaces (as root), Landlock for files and signals, a seccomp filter for the rest. What a kernel
//! does not have is left out and told ([`Walls`]); what it has and refuses is an error, but for
//! namespaces, which a host may keep for itself.
//!
//! All of it is inherited by threads that are made later, and by none that is there: [`enter`] belongs
//! before the first.
//!
//! Spec: `landlock(7)`, seccomp(2), capabilities(7), `no_new_privs` in prctl(2).

mod files;
mod filter;
mod limits;
mod namespaces_raw;

use std::path::PathBuf;

/// What a guest's process needs. All else is given up.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Files, and directories with all below them, to read. Those that are not there are left out.
    pub read: Vec<PathBuf>,
    /// The same, to read and write; directories also to make files and sockets in.
    pub write: Vec<PathBuf>,
    /// Directories in which everything may be changed that a directory can have: a guest has them.
    pub folders: Vec<PathBuf>,
    /// Devices, to open and control.
    pub devices: Vec<PathBuf>,
    /// Whether there are folders at all, be it only to read.
    pub has_folders: bool,
    /// Connections of the Internet.
    pub network: bool,
    /// The interface of a tap, which only an administrator of the network may open.
    pub tap: bool,
}

/// Which walls stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walls {
    /// Landlock enforces everything that this version asks of it; nothing, or a part.
    pub landlock: Enforcement,
    pub namespaces: bool,
    pub seccomp: bool,
}

/// How much of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    Full,
    Partial,
    None,
}

/// A wall that could not be put up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JailError {
    #[error("cannot limit this process's resources")]
    Limits(#[source] rustix::io::Errno),
    #[error("cannot give up capabilities")]
    Capabilities(#[source] rustix::io::Errno),
    #[error("cannot restrict files")]
    Files(#[from] landlock::RulesetError),
    #[error("cannot filter system calls")]
    Filter(#[from] seccompiler::Error),
    #[error("cannot make the filter of system calls")]
    Rules(#[from] seccompiler::BackendError),
}

/// Puts up all walls around this process, for good. Before it has a second thread.
///
/// # Errors
/// When the kernel refuses one. Some may stand then: the process is not to go on.
pub fn enter(needs: &Needs) -> Result<Walls, JailError> {
    limits::resources().map_err(JailError::Limits)?;
    let namespaces = namespaces_raw::leave(needs);
    let landlock = files::restrict(needs)?;
    limits::capabilities(needs).map_err(JailError::Capabilities)?;
    filter::install(needs)?;
    Ok(Walls {
        landlock,
        namespaces,
        seccomp: true,
    })
}
