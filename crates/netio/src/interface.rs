//! What an interface of the host has carried, as its kernel counts it. Spec: proc_pid_net(5), "dev".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Counts;

/// Of the network that this process is in.
const LIST: &str = "/proc/self/net/dev";
/// Columns of the list: bytes and packets that the host has received, and those that it has sent.
const COLUMNS: [[usize; 2]; 2] = [[0, 1], [8, 9]];
/// Bytes of the list at most: some thousands of interfaces.
const MOST: usize = 1 << 20;

/// The counts of a tap.
#[derive(Debug)]
pub struct InterfaceCounts {
    list: File,
    name: String,
}

impl InterfaceCounts {
    /// # Errors
    /// When this process does not find the interface's counts.
    pub fn open(name: &str) -> io::Result<InterfaceCounts> {
        InterfaceCounts::within(Path::new(LIST), name)
    }

    pub(crate) fn within(list: &Path, name: &str) -> io::Result<InterfaceCounts> {
        let counts = InterfaceCounts {
            list: File::open(list)?,
            name: name.to_owned(),
        };
        match counts.now() {
            Some(_) => Ok(counts),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What the guest has sent and received by the interface. `None` when that has gone.
    #[must_use]
    pub fn now(&self) -> Option<[Counts; 2]> {
        let text = String::from_utf8(self.read().ok()?).ok()?;
        let mut lines = text.lines().map(str::trim_start);
        let line = lines.find_map(|line| line.strip_prefix(&self.name)?.strip_prefix(':'))?;
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |column: usize| columns.get(column)?.parse().ok();
        let counts = |[bytes, frames]: [usize; 2]| {
            Some(Counts {
                frames: number(frames)?,
                bytes: number(bytes)?,
            })
        };
        // What a guest sends, the host receives.
        Some([counts(COLUMNS[0])?, counts(COLUMNS[1])?])
    }

    /// The list, which the kernel writes anew for who reads from the beginning.
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        while text.len() < MOST {
            match self.list.read_at(&mut piece, text.len() as u64)? {
                0 => break,
                len => text.extend_from_slice(&piece[..len]),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
