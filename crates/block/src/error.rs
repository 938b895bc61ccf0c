//! Why an image cannot be used as a disk, in one sentence that names the file.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum BlockError {
    #[error("disk image {} does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("{} is a directory, not a disk image", path.display())]
    Directory { path: PathBuf },
    #[error("{} is neither a file nor a block device", path.display())]
    NotADisk { path: PathBuf },
    #[error("no permission to {} disk image {}", if *write { "write" } else { "read" }, path.display())]
    NotPermitted { path: PathBuf, write: bool },
    #[error("disk image {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("cannot open disk image {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot create disk overlay {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("disk image {} is not a usable qcow2: {what}", path.display())]
    Qcow2 { path: PathBuf, what: String },
    #[error("disk image {} needs {feature}, which is not supported", path.display())]
    Unsupported { path: PathBuf, feature: String },
    #[error(
        "disk image {} names {backing:?} as its backing file; only a file in its own directory is followed, \
         or any with trust-backing, which is for images whose maker you trust",
        path.display()
    )]
    BackingElsewhere { path: PathBuf, backing: String },
    #[error("disk image {} has more than {limit} backing files, or names itself", path.display())]
    ChainTooLong { path: PathBuf, limit: usize },
    #[error(
        "disk image {} is a {format}, which can only be read; make it read-only (ro), give it a \
         temporary overlay (temporary), or convert it (inn disk convert)",
        path.display()
    )]
    OnlyRead { path: PathBuf, format: &'static str },
    #[error("disk image {} is not a usable {format}: {what}", path.display())]
    Damaged {
        path: PathBuf,
        format: &'static str,
        what: String,
    },
    #[error("{uri} is no address of an NBD server: {what}")]
    NbdAddress { uri: String, what: String },
    #[error("cannot use {uri}")]
    Nbd { uri: String, source: io::Error },
    #[error("cannot {what} {}", path.display())]
    Change {
        path: PathBuf,
        what: &'static str,
        source: io::Error,
    },
    #[error("there is a file {} already; --force replaces it", path.display())]
    Exists { path: PathBuf },
    #[error("a raw image has no backing file; {} would have to be a qcow2", path.display())]
    NoBacking { path: PathBuf },
    #[error("{} needs a size, or a backing file whose size it takes", path.display())]
    NoSize { path: PathBuf },
    #[error(
        "{} has {old} bytes and would lose what lies beyond {new}; that has to be asked for (--shrink)",
        path.display()
    )]
    Shrinks { path: PathBuf, old: u64, new: u64 },
    #[error("{} is a {format}, which has no snapshots inside; a qcow2 does", path.display())]
    NoSnapshots { path: PathBuf, format: &'static str },
    #[error("overlay {} belongs to {found:?}, not to {}", path.display(), base.display())]
    OtherBase {
        path: PathBuf,
        found: String,
        base: PathBuf,
    },
}
