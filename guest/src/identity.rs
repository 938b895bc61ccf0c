//! A guest that was one with others becomes itself: a name, random numbers and addresses of its own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use crate::errand::{Answer, Refusal};
use crate::frame::Identity;
use crate::network::{self, Network};
use crate::sys_raw;

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// Of a host's name. Spec: gethostname(2), "HOST_NAME_MAX".
const LONGEST: usize = 64;

/// Random numbers first: whatever comes after may use some.
pub(crate) fn renew(wanted: &Identity, network: Option<&Network>) -> Answer {
    if !wanted.entropy.is_empty() {
        sys_raw::add_entropy(&wanted.entropy).map_err(said("cannot mix in random numbers"))?;
    }
    if !wanted.hostname.is_empty() {
        rename(&wanted.hostname).map_err(said("cannot change the host name"))?;
    }
    if let Some(id) = wanted.machine_id {
        write_machine_id(id).map_err(said("cannot change the machine ID"))?;
    }
    for (old, new) in &wanted.cards {
        network::readdress(*old, *new).map_err(said("cannot change a card's address"))?;
    }
    if let (Some(network), false) = (network, wanted.cards.is_empty()) {
        network.begin_anew();
    }
    Ok(Vec::new())
}

/// The error, with what was tried before it.
fn said(what: &'static str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| Refusal::new(what, &error)
}

fn rename(name: &OsStr) -> io::Result<()> {
    if name.len() > LONGEST || name.as_bytes().iter().any(|byte| !is_of_name(*byte)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let before = rustix::system::uname().nodename().to_bytes().to_vec();
    rustix::system::sethostname(name.as_bytes())?;
    let mut line = name.as_bytes().to_vec();
    line.push(b'\n');
    replace(Path::new(HOSTNAME), &line)?;
    match fs::read(HOSTS) {
        Ok(text) => replace(
            Path::new(HOSTS),
            &with_word(&text, &before, name.as_bytes()),
        ),
        // Nobody looks there either.
        Err(_) => Ok(()),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_'
}

/// The lines of a file of hosts, where the word `new` stands for the word `old` of those about 127.0.1.1, as
/// Debian calls a host by its own name.
fn with_word(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if old.is_empty() || !line.starts_with(b"127.0.1.1") {
            lines.extend_from_slice(line);
            continue;
        }
        for word in line.split_inclusive(u8::is_ascii_whitespace) {
            let ends = word.last().is_some_and(u8::is_ascii_whitespace);
            let len = word.len() - usize::from(ends);
            let (word, end) = word.split_at(len);
            lines.extend_from_slice(if word == old { new } else { word });
            lines.extend_from_slice(end);
        }
    }
    lines
}

/// Spec: machine-id(5).
fn write_machine_id(id: [u8; 16]) -> io::Result<()> {
    let mut line = String::new();
    for byte in id {
        let _ = write!(line, "{byte:02x}");
    }
    line.push('\n');
    let mut files = MACHINE_IDS.iter().map(Path::new);
    files.try_for_each(|path| replace(path, line.as_bytes()))
}

/// New content for a file that is there, as a whole; not for one that is a link to another.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let Ok(before) = path.symlink_metadata() else {
        return Ok(());
    };
    if !before.is_file() || fs::read(path).is_ok_and(|text| text == content) {
        return Ok(());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".innkeeper");
    let beside = Path::new(&beside);
    let _ = fs::remove_file(beside);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    chown(beside, Some(before.uid()), Some(before.gid()))?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests;
