//! Text that was copied: on the host's side by whoever looks at the guest's screen, or in the guest.
//!
//! It is a file, since a console has no clipboard and each desktop another: who pastes reads it, who copies
//! writes it. It is root's until root gives it to somebody, and stays theirs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::errand::{Answer, Refusal};

const FOLDER: &str = "/run/innkeeper";
const FILE: &str = "clipboard";
/// Bytes; so that an answer is one frame.
const LONGEST: u64 = 60_000;

/// Makes its folder, so that who copies first can write there. Where that cannot be, they are told when they try.
pub(crate) fn prepare() {
    let _ = make(Path::new(FOLDER));
}

/// Done: nothing.
pub(crate) fn set(text: &[u8]) -> Answer {
    set_in(Path::new(FOLDER), text)?;
    Ok(Vec::new())
}

/// Done: its number, whether that is another than `known`, and then its text.
pub(crate) fn get(known: u64) -> Answer {
    Ok(get_in(Path::new(FOLDER), known)?)
}

fn set_in(folder: &Path, text: &[u8]) -> Result<(), Refusal> {
    make(folder).map_err(|error| Refusal::new("cannot make /run/innkeeper", &error))?;
    // In place: whose it is, it stays.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(folder.join(FILE))?;
    Ok(file.write_all(text)?)
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).recursive(true).create(folder)
}

fn get_in(folder: &Path, known: u64) -> io::Result<Vec<u8>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(folder.join(FILE));
    let file = match opened {
        Ok(file) => file,
        // Nobody has copied anything.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(answer(0, None)),
        Err(error) => return Err(error),
    };
    let number = number(&file)?;
    if number == known {
        return Ok(answer(number, None));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(answer(number, Some(&text)))
}

/// Another one whenever somebody wrote.
fn number(file: &File) -> io::Result<u64> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let nanoseconds = about
        .mtime()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(about.mtime_nsec());
    Ok((nanoseconds.cast_unsigned() ^ about.ino().rotate_left(40) ^ about.size()).max(1))
}

fn answer(number: u64, text: Option<&[u8]>) -> Vec<u8> {
    let mut answer = number.to_le_bytes().to_vec();
    answer.push(text.is_some().into());
    answer.extend_from_slice(text.unwrap_or_default());
    answer
}

#[cfg(test)]
mod tests;
