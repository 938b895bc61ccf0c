//! Why a guest cannot be booted from what it was given.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What is wrong with the content of a kernel file. Knows no file name: parsers take bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageError {
    #[error(
        "this is not a kernel that can be booted: neither a Linux bzImage, nor an ELF file with a \
         PVH entry, nor a multiboot image"
    )]
    Unknown,
    #[error("the file is truncated: {what} needs {needed} bytes and the file has {found}")]
    Truncated {
        what: &'static str,
        needed: u64,
        found: u64,
    },
    #[error("{what}")]
    Damaged { what: &'static str },
    #[error("{what} is not supported")]
    Unsupported { what: &'static str },
    #[error("it wants {len} bytes at {at:#x}, where the guest has no memory; give it more memory")]
    NoMemoryThere { at: u64, len: u64 },
    #[error("its command line holds {limit} bytes, and {len} were given")]
    CommandLine { len: usize, limit: usize },
    #[error("the command line holds a zero byte")]
    CommandLineZero,
    #[error("the initial RAM disk of {len} bytes does not fit below {limit:#x} beside the kernel")]
    InitrdTooLarge { len: u64, limit: u64 },
    #[error("the boot information of {len} bytes does not fit into the guest's memory")]
    NoRoomForInfo { len: u64 },
}

/// Why a boot source cannot be used; names the file.
#[derive(Debug, Error)]
pub enum BootError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is empty", path.display())]
    Empty { path: PathBuf },
    #[error(
        "{} has {len} bytes, more than the guest's memory of {memory} bytes",
        path.display()
    )]
    LargerThanMemory {
        path: PathBuf,
        len: u64,
        memory: u64,
    },
    #[error("cannot boot {}", path.display())]
    Image { path: PathBuf, source: ImageError },
}

/// What stopped a boot: the kernel image, or a file that names itself.
#[derive(Debug)]
pub(super) enum Fault {
    Image(ImageError),
    File(BootError),
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Fault {
        Fault::Image(error)
    }
}

impl From<BootError> for Fault {
    fn from(error: BootError) -> Fault {
        Fault::File(error)
    }
}
