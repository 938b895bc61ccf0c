//! A map by which `perf` names the guest's code: `/tmp/perf-PID.map`.
//!
//! Spec: Linux tools/perf/Documentation/jit-interface.txt: a line for each piece of code, its start and
//! size in hexadecimal and its name. `perf` reads the file when it reports, from that place alone.
//! Rejected: jitdump, which also survives code that makes room for other code. It has to be woven
//! into the profile by a second command, and translations make room for others hardly ever.
//!
//! Anybody may write to /tmp, so the file is always made anew, and never through a link.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use engine::CodeListener;
use memory::Gla;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat, unlink};
use rustix::io::Errno;

use crate::sync::lock;

/// Lines go on up to so many bytes in all: a guest makes the translator translate as long as it runs.
const MOST_BYTES: usize = 64 << 20;
/// No function of a guest is longer, so what is farther behind a symbol is something else.
const LONGEST: u64 = 1 << 20;

/// Guest functions by address.
#[derive(Debug, Default)]
pub struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// In any order. Names are put into lines of text: what is not printable becomes a question mark.
    #[must_use]
    pub fn new(mut symbols: Vec<(u64, String)>) -> Symbols {
        for (_, name) in &mut symbols {
            if name.contains(|c: char| !c.is_ascii_graphic()) {
                *name = name.replace(|c: char| !c.is_ascii_graphic(), "?");
            }
        }
        symbols.sort();
        Symbols(symbols)
    }

    /// The function that `address` lies in and how far, or the bare address.
    fn name(&self, address: u64) -> String {
        let after = self.0.partition_point(|&(start, _)| start <= address);
        let symbol = after.checked_sub(1).and_then(|index| self.0.get(index));
        match symbol {
            Some((start, name)) if *start == address => name.clone(),
            Some((start, name)) if address - start < LONGEST => {
                format!("{name}+{:#x}", address - start)
            }
            _ => format!("{address:#x}"),
        }
    }
}

/// The open map.
#[derive(Debug)]
pub(crate) struct PerfMap {
    symbols: Symbols,
    /// And how many bytes may still be written.
    file: Mutex<(File, usize)>,
}

impl PerfMap {
    /// Where `perf` looks for the map of this process.
    pub(crate) fn path() -> PathBuf {
        PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()))
    }

    /// Makes the file at `path`. One that an earlier process of ours left there is replaced.
    ///
    /// # Errors
    /// When somebody else has put something there, or the host refuses.
    pub(crate) fn create(path: &Path, symbols: Symbols) -> io::Result<PerfMap> {
        let mut made = make(path);
        if matches!(made, Err(Errno::EXIST)) && is_ours(path) {
            // What is there is a name in a directory; if another takes its place, `make` fails again.
            unlink(path)?;
            made = make(path);
        }
        Ok(PerfMap {
            symbols,
            file: Mutex::new((made?, MOST_BYTES)),
        })
    }
}

fn make(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// A plain file of this user's.
fn is_ours(path: &Path) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && found.st_uid == rustix::process::geteuid().as_raw()
    })
}

impl CodeListener for PerfMap {
    fn made(&self, guest: Option<Gla>, host: u64, len: usize) {
        let line = match guest {
            Some(guest) => format!("{host:x} {len:x} guest:{}\n", self.symbols.name(guest.0)),
            None => format!("{host:x} {len:x} innkeeper:shared\n"),
        };
        let mut file = lock(&self.file);
        let (file, left) = &mut *file;
        *left = left.checked_sub(line.len()).unwrap_or(0);
        // At once, so that a guest that runs can be looked at. A full disk ends the map, not the guest.
        if *left > 0 && file.write_all(line.as_bytes()).is_err() {
            *left = 0;
        }
    }
}

#[cfg(test)]
mod tests;
