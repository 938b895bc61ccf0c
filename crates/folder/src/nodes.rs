//! What the guest knows by number: files and directories that it has looked up and not forgotten.

use std::collections::BTreeMap;
use std::ffi::CString;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::wire::check_name;

/// The folder itself.
pub(crate) const ROOT: u64 = 1;
/// Most nodes that a guest may know at a time: some 100 MiB of ours.
const MOST: usize = 1 << 20;

/// What a file is, wherever it is: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// A file, and where it was seen last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) parent: u64,
    pub(crate) name: CString,
    /// How often the guest was told of it: it forgets as many.
    lookups: u64,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Nodes {
    by_number: BTreeMap<u64, Node>,
    by_identity: BTreeMap<Identity, u64>,
    last: u64,
}

impl Nodes {
    /// # Errors
    /// ESTALE when the guest does not know such a node.
    pub(crate) fn get(&self, number: u64) -> Result<&Node, Errno> {
        self.by_number.get(&number).ok_or(Errno::STALE)
    }

    /// The guest is told of what is called so in there: its number.
    ///
    /// # Errors
    /// ENOMEM when it knows too many.
    pub(crate) fn tell(
        &mut self,
        parent: u64,
        name: CString,
        identity: Identity,
    ) -> Result<u64, Errno> {
        if let Some(&number) = self.by_identity.get(&identity) {
            if let Some(node) = self.by_number.get_mut(&number) {
                node.lookups = node.lookups.saturating_add(1);
                (node.parent, node.name) = (parent, name);
            }
            return Ok(number);
        }
        if self.by_number.len() >= MOST {
            return Err(Errno::NOMEM);
        }
        // Never again a number that the guest may still have somewhere.
        self.last = self.last.max(ROOT) + 1;
        self.by_identity.insert(identity, self.last);
        let node = Node {
            identity,
            parent,
            name,
            lookups: 1,
        };
        self.by_number.insert(self.last, node);
        Ok(self.last)
    }

    pub(crate) fn forget(&mut self, number: u64, count: u64) {
        let Some(node) = self.by_number.get_mut(&number) else {
            return;
        };
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups == 0 {
            let identity = node.identity;
            self.by_number.remove(&number);
            self.by_identity.remove(&identity);
        }
    }

    /// What this is has another place from now on.
    pub(crate) fn moved(&mut self, identity: Identity, parent: u64, name: CString) {
        let number = self.by_identity.get(&identity);
        if let Some(node) = number.and_then(|number| self.by_number.get_mut(number)) {
            (node.parent, node.name) = (parent, name);
        }
    }

    /// # Errors
    /// When a guest cannot have come to know this.
    pub(crate) fn check(&self) -> Result<(), String> {
        let known = self.by_number.iter().all(|(number, node)| {
            *number > ROOT
                && *number <= self.last
                && self.by_identity.get(&node.identity) == Some(number)
                && check_name(node.name.to_bytes()).is_ok()
        });
        if !known || self.by_number.len() > MOST || self.by_identity.len() != self.by_number.len() {
            return Err("what the guest knows of the folder makes no sense".into());
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.by_number.len()
    }
}
