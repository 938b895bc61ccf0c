//! What drives answer to SCSI commands, however those come: by IDE's packets, by SATA's, by USB.
//!
//! A command is looked at in whole, and what comes of it is data ([`Reply`]): whoever brought it moves the bytes in
//! its own way.

mod cd;
mod disk;
mod sense;
mod tray;

pub(crate) use cd::run as run_cd;
pub(crate) use disk::{DiskSense, is_flush, run as run_disk};
pub(crate) use sense::Sense;
pub(crate) use tray::Tray;
pub use tray::{DriveReport, RemovableDrive};

/// Bytes of a command as CD-ROM drives get them.
pub(crate) const COMMAND_LEN: usize = 12;

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    /// No more than the guest has room for, and something.
    Answer(Vec<u8>),
    /// From the medium to the guest, in bytes: inside of it.
    Read {
        at: u64,
        len: u64,
    },
    /// From the guest to the medium, likewise.
    Write {
        at: u64,
        len: u64,
    },
    Fail(Sense),
}

/// As much of `bytes` as there is room for.
fn answer(mut bytes: Vec<u8>, room: usize) -> Reply {
    bytes.truncate(room);
    if bytes.is_empty() {
        Reply::Done
    } else {
        Reply::Answer(bytes)
    }
}

fn half(command: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([command[at], command[at + 1]])
}

fn word(command: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([
        command[at],
        command[at + 1],
        command[at + 2],
        command[at + 3],
    ])
}
