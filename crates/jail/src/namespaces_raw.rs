//! Namespaces, where this process may have them.

use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, unshare_unsafe};

use crate::{Needs, limits};

/// Where a distribution keeps user namespaces for programs that it knows.
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// How this process has come to its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// As an administrator.
    Own,
    /// In a user namespace, of which it is the administrator until it gives that up.
    Borrowed,
}

/// How it has, once it has: who has borrowed its rights looks like an administrator.
static RIGHTS: OnceLock<Rights> = OnceLock::new();

/// The rights to make namespaces.
///
/// # Errors
/// Why there are none, in words.
pub(crate) fn obtain(needs: &Needs) -> Result<Rights, String> {
    if let Some(rights) = RIGHTS.get() {
        return Ok(*rights);
    }
    let rights = look(needs)?;
    Ok(*RIGHTS.get_or_init(|| rights))
}

fn look(needs: &Needs) -> Result<Rights, String> {
    let now = rustix::thread::capabilities(None).map_err(|error| error.to_string())?;
    if now.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(Rights::Own);
    }
    if now.effective.intersects(limits::kept(needs)) {
        return Err("the guest's network needs rights over the host's".to_owned());
    }
    if fs::read_to_string(APPARMOR).is_ok_and(|text| text.trim() != "0") {
        return Err("AppArmor keeps user namespaces from this program".to_owned());
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    leave(UnshareFlags::NEWUSER)
        .map_err(|error| format!("this host gives no user namespace: {error}"))?;
    let told = map("setgroups", "deny")
        .and_then(|()| map("uid_map", &format!("{user} {user} 1")))
        .and_then(|()| map("gid_map", &format!("{group} {group} 1")));
    told.map_err(|error| format!("this host gives user namespaces no users: {error}"))?;
    Ok(Rights::Borrowed)
}

fn map(name: &str, text: &str) -> io::Result<()> {
    fs::write(format!("/proc/self/{name}"), text)
}

/// Leaves what of the host's the guest has no use for; answers what that was.
pub(crate) fn separate(needs: &Needs, missing: &mut Vec<String>) -> Vec<&'static str> {
    let mut kinds = vec![
        ("mount", UnshareFlags::NEWNS),
        ("ipc", UnshareFlags::NEWIPC),
        ("uts", UnshareFlags::NEWUTS),
        ("cgroup", UnshareFlags::NEWCGROUP),
    ];
    if !needs.network && !needs.tap {
        kinds.push(("net", UnshareFlags::NEWNET));
    }
    let mut left = Vec::new();
    for (name, flag) in kinds {
        match leave(flag) {
            Ok(()) => left.push(name),
            Err(error) => missing.push(format!("no {name} namespace: {error}")),
        }
    }
    left
}

/// A namespace of processes, for those that are forked from now on: they see nobody else's.
///
/// # Errors
/// Why there is none, in words.
pub(crate) fn separate_children(needs: &Needs) -> Result<(), String> {
    obtain(needs)?;
    leave(UnshareFlags::NEWPID).map_err(|error| error.to_string())
}

fn leave(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: what is unsafe about it is to share less of the table of descriptors or of the file
    // system's state than other code of this process relies on. There is one thread, so there is
    // nobody to share either with.
    unsafe { unshare_unsafe(flags) }.map_err(Into::into)
}
