//! Who is who in a network that guests share: one line a guest, in a file that their processes write
//! in turn. A name keeps its address for as long as nobody else needs it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open, openat};

use crate::user::plan::{self, Mac};

const FILE: &str = "leases";
/// Last parts of the addresses that guests get.
const FIRST: u8 = 16;
const LAST: u8 = 250;
/// A longer file is not one of ours.
const MAX_LEN: u64 = 64 << 10;
/// Others write a few hundred bytes and let go.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) name: String,
    pub(super) last: u8,
    pub(super) mac: Mac,
}

impl Lease {
    pub(super) fn address(&self) -> Ipv4Addr {
        let [a, b, c, _] = plan::GATEWAY4.octets();
        Ipv4Addr::new(a, b, c, self.last)
    }
}

/// Those that the file names now.
pub(super) fn read(directory: &OwnedFd) -> io::Result<Vec<Lease>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory.as_fd(), FILE, flags, Mode::empty())?);
    load(&mut file)
}

fn load(file: &mut File) -> io::Result<Vec<Lease>> {
    let mut text = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The lease of `name`: as before, or the first address that is free. `lives` tells whether a guest
/// of that name is in the network.
pub(super) fn take(
    directory: &OwnedFd,
    name: &str,
    mac: Mac,
    lives: impl Fn(&str) -> bool,
) -> io::Result<Lease> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(openat(directory.as_fd(), FILE, flags, mode)?);
    lock(&file)?;
    let mut leases = load(&mut file)?;
    let known = leases.iter().position(|lease| lease.name == name);
    let last = match known {
        Some(index) => leases.remove(index).last,
        None => match free(&leases) {
            Some(last) => last,
            None => evict(&mut leases, lives)?,
        },
    };
    let lease = Lease {
        name: name.to_owned(),
        last,
        mac,
    };
    leases.push(lease.clone());
    let text: String = leases.iter().map(line).collect();
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    Ok(lease)
}

/// Takes the lease of `name` in the network of `directory` for a guest on a bridge; `present` are in it
/// now. Answers the last part of its address.
///
/// # Errors
/// When the list cannot be written, or all addresses are taken.
pub fn lease(directory: &Path, name: &str, mac: Mac, present: &[String]) -> io::Result<u8> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    take(&directory, name, mac, |other| {
        present.iter().any(|it| it == other)
    })
    .map(|it| it.last)
}

fn lock(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(RETRY);
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn free(leases: &[Lease]) -> Option<u8> {
    (FIRST..=LAST).find(|last| leases.iter().all(|lease| lease.last != *last))
}

/// The oldest lease of a guest that is gone.
fn evict(leases: &mut Vec<Lease>, lives: impl Fn(&str) -> bool) -> io::Result<u8> {
    let gone = leases.iter().position(|lease| !lives(&lease.name));
    let index = gone.ok_or_else(|| io::Error::other("all of its addresses are taken"))?;
    Ok(leases.remove(index).last)
}

fn line(lease: &Lease) -> String {
    let mac: String = lease.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {} {mac}\n", lease.name, lease.last)
}

fn parse(text: &str) -> Vec<Lease> {
    let leases = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, last, mac) = (words.next()?, words.next()?, words.next()?);
        let mac = u64::from_str_radix(mac, 16).ok()?;
        let [_, _, mac @ ..] = mac.to_be_bytes();
        let last = last.parse().ok()?;
        let possible = (FIRST..=LAST).contains(&last) && !name.is_empty() && !name.contains('/');
        possible.then(|| Lease {
            name: name.to_owned(),
            last,
            mac,
        })
    });
    leases.collect()
}

#[cfg(test)]
mod tests;
