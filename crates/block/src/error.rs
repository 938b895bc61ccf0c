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
        "disk image {} names {backing:?} as its backing file; only a file in its own directory is followed",
        path.display()
    )]
    BackingElsewhere { path: PathBuf, backing: String },
    #[error("disk image {} has more than {limit} backing files, or names itself", path.display())]
    ChainTooLong { path: PathBuf, limit: usize },
    #[error("overlay {} belongs to {found:?}, not to {}", path.display(), base.display())]
    OtherBase {
        path: PathBuf,
        found: String,
        base: PathBuf,
    },
}
