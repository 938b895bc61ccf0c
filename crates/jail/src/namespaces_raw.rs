//! Namespaces, where this process may have them.

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Needs;

/// Whether this process has left the host's namespaces that it has no use for. Only an administrator
/// may; for all others there are the other walls.
pub(crate) fn leave(needs: &Needs) -> bool {
    let mut flags = UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if !needs.network && !needs.tap {
        flags |= UnshareFlags::NEWNET;
    }
    // SAFETY: what is unsafe about it is to share less of the table of descriptors or of the file
    // system's state than other code of this process relies on. None of these flags is about either.
    unsafe { unshare_unsafe(flags) }.is_ok()
}
