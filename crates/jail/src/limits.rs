//! Resource limits and capabilities.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::Needs;

/// Disks, sockets of a network and of clients, and what the machine itself has.
const DESCRIPTORS: u64 = 8192;

pub(crate) fn resources() -> Result<(), Errno> {
    // A guest's memory is nothing to be left on a disk.
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, DESCRIPTORS)
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

/// Without the capabilities that only an administrator has, even where this is root: its files are
/// still its own.
pub(crate) fn capabilities(needs: &Needs) -> Result<(), Errno> {
    let mut kept = CapabilitySet::empty();
    if needs.network {
        // Low ports that are published, and pings where a host has no other way.
        kept |= CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW;
    }
    if needs.tap {
        kept |= CapabilitySet::NET_ADMIN;
    }
    let now = rustix::thread::capabilities(None)?;
    clear_ambient_capability_set()?;
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
            effective: now.effective & kept,
            permitted: now.permitted & kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}
