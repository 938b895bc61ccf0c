//! Resource limits, the user and its capabilities.

use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::Needs;

/// Disks, sockets of a network and of clients, and what the machine itself has.
const DESCRIPTORS: u64 = 8192;
const PROGRAM_DESCRIPTORS: u64 = 64;
/// Bytes.
const PROGRAM_FILE: u64 = 16 << 20;
const PROGRAM_DATA: u64 = 256 << 20;

pub(crate) fn resources() -> Result<(), Errno> {
    // A guest's memory is nothing to be left on a disk.
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, DESCRIPTORS)
}

/// Of another program that helps a guest: a few files, each small, and little memory.
pub(crate) fn program() -> Result<(), Errno> {
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, PROGRAM_DESCRIPTORS)?;
    lower(Resource::Fsize, PROGRAM_FILE)?;
    lower(Resource::Data, PROGRAM_DATA)
}

/// Of one whose user nobody else is: no process and no thread beside it. Once it has that user, since the kernel
/// would not run it while the one of the guest's last run is still ending.
pub(crate) fn one_process() -> Result<(), Errno> {
    lower(Resource::Nproc, 1)
}

fn lower(resource: Resource, most: u64) -> Result<(), Errno> {
    let now = getrlimit(resource);
    let most = Some(now.maximum.map_or(most, |maximum| maximum.min(most)));
    setrlimit(
        resource,
        Rlimit {
            current: most,
            maximum: most,
        },
    )
}

/// The capabilities that a guest's network takes.
pub(crate) fn kept(needs: &Needs) -> CapabilitySet {
    let mut kept = CapabilitySet::empty();
    if needs.network {
        // Low ports that are published, and pings where a host has no other way.
        kept |= CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW;
    }
    if needs.tap {
        kept |= CapabilitySet::NET_ADMIN;
    }
    kept
}

/// Becomes `user`, in the group of the same number and no other. Capabilities stay, to be given up.
pub(crate) fn user(user: u32) -> Result<(), Errno> {
    let group = Gid::from_raw(user);
    let user = Uid::from_raw(user);
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_keep_capabilities(false)
}

/// Without the capabilities that only an administrator has but for `kept`, even where this is root:
/// its files are still its own.
pub(crate) fn capabilities(kept: CapabilitySet) -> Result<(), Errno> {
    let now = rustix::thread::capabilities(None)?;
    clear_ambient_capability_set()?;
    // Who has changed users has all of them yet, but none in effect.
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.permitted,
            ..now
        },
    )?;
    for capability in CapabilitySet::all() {
        // Who has none of it may not take it away either.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.permitted & kept,
            permitted: now.permitted & kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}
