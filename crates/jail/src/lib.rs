//! What a guest's process gives up before its guest runs.
//!
//! A flaw in a device may one day let a guest run code of its own in this process. What that code can
//! do then is what is left here: compute, use the descriptors that are open, files of this guest,
//! connections where the guest has a network, copies of itself (so a guest is saved while it goes on). Not: start
//! programs, open other files, signal
//! or trace other processes, speak to other guests' sockets, change anything of the system.
//!
//! Several walls stand behind each other, since each has its holes: resource limits, namespaces, a root
//! directory and a user of its own, Landlock for files and signals, capabilities, a seccomp filter for
//! the rest. What a kernel does not have, or keeps for its administrator, is left out and told
//! ([`Walls::missing`]); what it has and refuses is an error.
//!
//! All of it is inherited by threads that are made later, and by none that is there: [`enter`] belongs
//! before the first. Each of these gives up more, by what it works at ([`narrow`]).
//!
//! Spec: `namespaces(7)`, `landlock(7)`, seccomp(2), capabilities(7), `no_new_privs` in prctl(2).

mod calls;
mod descriptors;
mod descriptors_raw;
mod files;
mod filter;
mod limits;
mod mount_raw;
mod namespaces_raw;
mod owner_raw;
mod places;
mod program;
mod root;

use std::path::PathBuf;

use rustix::thread::CapabilitySet;

pub use filter::Work;
pub(crate) use namespaces_raw::Rights;
pub use program::{ProgramNeeds, confine_program};

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
    /// Whom to be instead of an administrator. Nobody else is: files of it are root's outside.
    pub user: Option<u32>,
}

/// Which walls stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walls {
    /// Landlock enforces everything that this version asks of it; nothing, or a part.
    pub landlock: Enforcement,
    /// A root directory of its own.
    pub root: bool,
    pub user: User,
    /// Those that were left, by their kinds, but for that of users.
    pub namespaces: Vec<&'static str>,
    pub seccomp: bool,
    /// Why others do not, a sentence each.
    pub missing: Vec<String>,
}

/// Whom the host's kernel takes the process for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Who it was.
    Same,
    /// Who it was, without being able to touch that one's other processes.
    Namespace,
    /// A user of its own.
    Own(u32),
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
    #[error("cannot change to a root directory of its own: {0}")]
    Root(String),
    #[error("cannot change to the user {0}")]
    User(u32, #[source] rustix::io::Errno),
    #[error("cannot give up capabilities")]
    Capabilities(#[source] rustix::io::Errno),
    #[error("cannot restrict files")]
    Files(#[from] landlock::RulesetError),
    #[error("cannot filter system calls")]
    Filter(#[from] seccompiler::Error),
    #[error("cannot make the filter of system calls")]
    Rules(#[from] seccompiler::BackendError),
}

/// Puts up all walls around this process, for good. Before it has a second thread. Descriptors of
/// directories mean the same directories afterwards, where these are in the new root.
///
/// # Errors
/// When the kernel refuses one. Some may stand then: the process is not to go on.
pub fn enter(needs: &Needs) -> Result<Walls, JailError> {
    let mut walls = separate(needs)?;
    confine(needs, &mut walls)?;
    Ok(walls)
}

/// The half of [`enter`] that takes this process away from all others: its limits, namespaces, root and
/// user. What it can do there is as before.
///
/// # Errors
/// As [`enter`].
pub fn separate(needs: &Needs) -> Result<Walls, JailError> {
    limits::resources().map_err(JailError::Limits)?;
    let mut walls = Walls {
        landlock: Enforcement::None,
        root: false,
        user: User::Same,
        namespaces: Vec::new(),
        seccomp: false,
        missing: Vec::new(),
    };
    match namespaces_raw::obtain(needs) {
        Ok(rights) => move_in(needs, rights, &mut walls)?,
        Err(why) => {
            let said = format!("no root directory, user and namespaces of its own: {why}");
            walls.missing.push(said);
        }
    }
    Ok(walls)
}

/// Leaves the calling thread, and those that it makes, what `work` takes: besides what the process may
/// still do, for good.
///
/// # Errors
/// When the kernel refuses it.
pub fn narrow(work: Work) -> Result<(), JailError> {
    filter::narrow(work)
}

/// Makes what is the same for each process once, for those that are forked from this one.
///
/// # Errors
/// When a filter cannot be made.
pub fn prepare() -> Result<(), JailError> {
    filter::prepare()
}

/// Has those that are forked from now on see no processes but their own: what a process itself can not
/// get. They are in a user namespace where this process is no administrator.
///
/// # Errors
/// Why that can not be, in words; all else is as before.
pub fn separate_children(needs: &Needs) -> Result<(), String> {
    namespaces_raw::separate_children(needs)
}

/// Children of this process's children become its own when these end before them.
///
/// # Errors
/// When the kernel has no such thing.
pub fn adopt() -> std::io::Result<()> {
    let own = rustix::process::getpid();
    Ok(rustix::process::set_child_subreaper(Some(own))?)
}

/// This process is killed when its parent ends, from now on. A change of its user takes that back.
///
/// # Errors
/// When the kernel has no such thing.
pub fn end_with_parent() -> std::io::Result<()> {
    let signal = rustix::process::Signal::KILL;
    Ok(rustix::process::set_parent_process_death_signal(Some(
        signal,
    ))?)
}

fn confine(needs: &Needs, walls: &mut Walls) -> Result<(), JailError> {
    walls.landlock = files::restrict(needs)?;
    match walls.landlock {
        Enforcement::Full => {}
        Enforcement::Partial => walls
            .missing
            .push("this kernel knows a part of Landlock".into()),
        Enforcement::None => walls.missing.push("this kernel has no Landlock".into()),
    }
    // Those of a user namespace are of no use to a guest.
    let kept = match walls.user {
        User::Namespace => CapabilitySet::empty(),
        _ => limits::kept(needs),
    };
    limits::capabilities(kept).map_err(JailError::Capabilities)?;
    filter::install(needs)?;
    walls.seccomp = true;
    Ok(())
}

fn move_in(needs: &Needs, rights: Rights, walls: &mut Walls) -> Result<(), JailError> {
    if rights == Rights::Borrowed {
        walls.user = User::Namespace;
    }
    walls.namespaces = namespaces_raw::separate(needs, &mut walls.missing);
    if !walls.namespaces.contains(&"mount") {
        return Ok(());
    }
    match root::enter(needs, rights, &mut walls.missing) {
        Ok(user) => {
            walls.root = true;
            if let Some(user) = user {
                limits::user(user).map_err(|source| JailError::User(user, source))?;
                walls.user = User::Own(user);
            }
        }
        Err(error) if error.is_harmless => {
            let said = format!("no root directory of its own: {error}");
            walls.missing.push(said);
        }
        Err(error) => return Err(JailError::Root(error.to_string())),
    }
    Ok(())
}
