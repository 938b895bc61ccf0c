//! What another program of the host's gives up that a guest's process starts beside itself: before it runs.
//!
//! It needs what a program is loaded from and a directory of its own, and speaks by descriptors that it is
//! given. System calls are its own affair, since nobody here knows which it takes.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use rustix::thread::CapabilitySet;

use crate::{JailError, Needs, Rights, files, limits, namespaces_raw};

/// What such a program needs. All else is given up.
#[derive(Debug, Clone, Default)]
pub struct ProgramNeeds {
    /// To read and run, with all below. Those that are not there are left out.
    pub run: Vec<PathBuf>,
    /// To read and write.
    pub devices: Vec<PathBuf>,
    /// Its own directory, which has no others in it.
    pub own: PathBuf,
    /// Whom to be instead of an administrator. The directory becomes that one's.
    pub user: u32,
}

/// Locks this process in, for good, which has one thread and is about to become another program.
///
/// # Errors
/// When the kernel refuses a wall that it has: the program is not to run.
pub fn confine_program(needs: &ProgramNeeds) -> Result<(), JailError> {
    limits::program().map_err(JailError::Limits)?;
    let rights = namespaces_raw::obtain(&Needs::default());
    if rights.is_ok() {
        // Those that there are. It needs none of what they hide.
        namespaces_raw::separate(&Needs::default(), &mut Vec::new());
    }
    // Files are found by their names before it is somebody whom those names are hidden from.
    files::restrict_program(needs)?;
    if rights == Ok(Rights::Own) {
        hand_over(&needs.own, needs.user).map_err(|error| JailError::User(needs.user, error))?;
        limits::user(needs.user).map_err(|error| JailError::User(needs.user, error))?;
        limits::one_process().map_err(JailError::Limits)?;
    }
    limits::capabilities(CapabilitySet::empty()).map_err(JailError::Capabilities)
}

fn hand_over(own: &Path, user: u32) -> Result<(), rustix::io::Errno> {
    let give = |path: &Path| {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        chownat(
            CWD,
            path,
            Some(user),
            Some(group),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    };
    let entries = std::fs::read_dir(own).map_err(|_| rustix::io::Errno::NOENT)?;
    for entry in entries.flatten() {
        give(&entry.path())?;
    }
    give(own)
}
