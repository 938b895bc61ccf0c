//! The guest's file systems stand still, so that what is on the disks is whole and can be copied.
//!
//! One thread lives as long as they do: it freezes them, waits to be told to thaw them, and does so by itself
//! when nobody told it in time. It keeps a descriptor of each, because whoever looks for a path may have to wait
//! for what is frozen; and it says nothing to anybody meanwhile but to the host: a log may be on those disks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::errand::{Answer, Outcome, Refusal, in_thread};
use crate::sys_raw;

const MOUNTS: &str = "/proc/self/mountinfo";

/// Whoever freezes and thaws.
#[derive(Debug, Default)]
pub(crate) struct Freezer {
    frozen: Option<Frozen>,
}

#[derive(Debug)]
struct Frozen {
    thaw: Sender<Asking>,
    thread: JoinHandle<()>,
}

/// Who wants to hear how many were still frozen: none, where it is not told otherwise. Nobody who copied a disk
/// is to believe that it stood still when it did not.
#[derive(Debug)]
struct Asking(Option<Outcome>);

impl Asking {
    fn tell(mut self, thawed: usize) {
        if let Some(outcome) = self.0.take() {
            outcome.tell(count(thawed));
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(outcome) = self.0.take() {
            outcome.tell(count(0));
        }
    }
}

impl Freezer {
    /// # Errors
    /// When all is frozen already, or there is no room for a thread.
    pub(crate) fn freeze(&mut self, milliseconds: u32, outcome: Outcome) -> io::Result<()> {
        if self.frozen.as_ref().is_some_and(Frozen::lives) {
            return Err(Errno::ALREADY.into());
        }
        let (thaw, told) = channel();
        let until = Instant::now() + Duration::from_millis(milliseconds.into());
        let thread = in_thread("freeze", move || stand_still(until, &outcome, &told))?;
        self.frozen = Some(Frozen { thaw, thread });
        Ok(())
    }

    pub(crate) fn thaw(&mut self, outcome: Outcome) {
        let asking = Asking(Some(outcome));
        if let Some(frozen) = self.frozen.take() {
            let _ = frozen.thaw.send(asking);
        }
    }

    /// As `thaw`, and it has happened when this returns.
    pub(crate) fn release(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            let _ = frozen.thaw.send(Asking(None));
            let _ = frozen.thread.join();
        }
    }
}

impl Frozen {
    fn lives(&self) -> bool {
        !self.thread.is_finished()
    }
}

fn stand_still(until: Instant, outcome: &Outcome, told: &Receiver<Asking>) {
    // What is dirty is written while the guest goes on.
    rustix::fs::sync();
    let frozen = match freeze_all(until) {
        Ok(frozen) => frozen,
        Err(refusal) => return outcome.tell(Err(refusal)),
    };
    outcome.tell(count(frozen.len()));
    let asked = told.recv_timeout(until.saturating_duration_since(Instant::now()));
    let thawed = thaw_all(&frozen);
    if let Ok(asking) = asked {
        asking.tell(thawed);
    }
}

fn count(number: usize) -> Answer {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    Ok(number.to_le_bytes().to_vec())
}

/// Those that were mounted last first: what lies in a file of another file system is written to that.
fn freeze_all(until: Instant) -> Result<Vec<OwnedFd>, Refusal> {
    let mounts = fs::read_to_string(MOUNTS)
        .map_err(|error| Refusal::new("cannot read what is mounted", &error))?;
    let mut frozen = Vec::new();
    for (place, device) in places(&mounts).iter().rev() {
        let done = if Instant::now() < until {
            freeze_one(place, device)
        } else {
            Err(Errno::TIMEDOUT.into())
        };
        match done {
            Ok(directory) => frozen.extend(directory),
            Err(error) => {
                thaw_all(&frozen);
                return Err(Refusal::new(&format!("cannot freeze {place}"), &error));
            }
        }
    }
    Ok(frozen)
}

/// `None` where the file system cannot be frozen, or is not to be seen.
fn freeze_one(place: &str, device: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::open(place, flags, Mode::empty()) else {
        return Ok(None);
    };
    match sys_raw::freeze(file.as_fd()) {
        Ok(()) => Ok(Some(file)),
        Err(error) => match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EINVAL) => Ok(None),
            // Another lies over this one, and has had its turn.
            Some(libc::EBUSY) if number_of(&file)? != device => Ok(None),
            _ => Err(error),
        },
    }
}

/// As it is written where mounts are.
fn number_of(file: &OwnedFd) -> io::Result<String> {
    let device = rustix::fs::fstat(file)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Ok(format!("{major}:{minor}"))
}

/// In the order of their mounts.
fn thaw_all(frozen: &[OwnedFd]) -> usize {
    let thawed = frozen.iter().rev();
    thawed
        .filter(|directory| sys_raw::thaw(directory.as_fd()).is_ok())
        .count()
}

/// Where each file system is mounted that is on a block device and may be written, and the device's number, in
/// the order of the mounts. Spec: proc_pid_mountinfo(5).
fn places(mounts: &str) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut places = Vec::new();
    for line in mounts.lines() {
        let Some(mount) = Mount::parse(line) else {
            continue;
        };
        // A network's file system has no device; one of many disks has a number of its own, and a device's name.
        let on_device = !mount.device.starts_with("0:") || mount.source.starts_with("/dev/");
        let written = mount.options.split(',').all(|option| option != "ro");
        if on_device && written && seen.insert(mount.device.to_owned()) {
            places.push((plain(mount.place), mount.device.to_owned()));
        }
    }
    places
}

struct Mount<'a> {
    device: &'a str,
    place: &'a str,
    source: &'a str,
    /// Of the file system, not of its place.
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (here, there) = line.split_once(" - ")?;
        let mut here = here.split(' ');
        let mut there = there.split(' ');
        Some(Self {
            device: here.nth(2)?,
            place: here.nth(1)?,
            source: there.nth(1)?,
            options: there.next()?,
        })
    }
}

/// A path as it is: blanks and the like are written as `\040`.
fn plain(text: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = rest
            .get(1..4)
            .and_then(|digits| str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte.filter(|_| *first == b'\\') {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[4..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests;
