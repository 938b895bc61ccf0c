//! What of a served folder is saved with its guest: what the guest knows of it, and has open.

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::files::{Handle, MOST};
use crate::nodes::Nodes;
use crate::server::Folder;

#[derive(Debug, Serialize, Deserialize)]
struct FolderStateV1 {
    nodes: Nodes,
    /// Number, node, flags.
    open: Vec<(u64, u64, u32)>,
    last: u64,
}

impl Folder {
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let open = self.handles.open.iter();
        let open: Vec<_> = open
            .map(|(&number, handle)| (number, handle.node, handle.flags))
            .collect();
        let state = FolderStateV1 {
            nodes: self.nodes.clone(),
            open,
            last: self.handles.last,
        };
        // Numbers and names always serialise; an empty state is refused on restore.
        postcard::to_stdvec(&state).unwrap_or_default()
    }

    /// Opens again what was open. What is no more there, or has been replaced, is closed to the guest.
    ///
    /// # Errors
    /// With a reason, when the bytes are no such state. Nothing is changed then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let state: FolderStateV1 =
            postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        if state.open.len() > MOST {
            return Err(format!("{} open files are too many", state.open.len()));
        }
        state.nodes.check()?;
        self.nodes = state.nodes;
        self.handles.open.clear();
        self.handles.last = state.last;
        for (number, node, flags) in state.open {
            let wanted = OFlags::from_bits_retain(flags);
            let allowed = OFlags::ACCMODE | OFlags::APPEND | OFlags::SYNC | OFlags::DSYNC;
            let opened = if wanted.contains(OFlags::DIRECTORY) {
                self.tree
                    .open(&self.nodes, node, OFlags::RDONLY | OFlags::DIRECTORY)
            } else if self.options.read_only {
                self.regular(node, OFlags::RDONLY)
            } else {
                self.regular(node, wanted & allowed)
            };
            if let Ok(file) = opened {
                self.handles
                    .open
                    .insert(number, Handle { file, node, flags });
            }
        }
        Ok(())
    }
}
