//! A folder of the host, served to a guest's kernel in the language of FUSE.
//!
//! The guest is not trusted. It names things by node numbers that we gave it and by single names; a
//! node is remembered as its parent and its name, and found again for each request by one walk from
//! the folder's root that the host's kernel keeps beneath it, without following links
//! ([`tree::Tree`]). So nothing outside of the folder is ever reached, whatever the guest, another
//! guest of the same folder, or a person at the host renames meanwhile; what a name stands for now is
//! compared with what it stood for, and is stale when that differs. A node costs a little memory and
//! no descriptor. Nodes, open files and the length of every answer are bounded.
//!
//! Files belong to whoever runs us, and the guest sees these as its root's, or as those of another
//! user that was chosen. What it may do with a file is asked of the host's kernel for us and of its own
//! kernel for its users. No file becomes set-user-ID through us, and no device comes to be.
//!
//! Rejected: a descriptor for each node, which a guest with many files runs out of; 9P, which the
//! kernels of cloud images lack.
//! Spec: `include/uapi/linux/fuse.h` of the Linux kernel, version 7.36; fuse(4).

mod attributes;
mod directories;
mod entries;
mod files;
mod nodes;
mod server;
mod state;
mod tree;
mod wire;

pub use server::{Folder, FolderOptions};
pub use wire::{HEADER_LEN, MAX_DATA};

#[cfg(test)]
mod tests;
