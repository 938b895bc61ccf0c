//! Files for tests, each in a directory that goes with the test.

use std::fs::{create_dir_all, remove_dir_all};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use crate::storage::Storage;

static COUNT: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(crate) struct TestDirectory {
    path: PathBuf,
}

impl TestDirectory {
    pub(crate) fn new() -> TestDirectory {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("innkeeper-block-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        create_dir_all(&path).unwrap();
        TestDirectory { path }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.path);
    }
}

/// Bytes that repeat nowhere soon.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Runs qemu-img in `directory`. Answers `false`, and says why, where it is not installed.
pub(crate) fn qemu_img(directory: &TestDirectory, arguments: &[&str]) -> bool {
    let done = Command::new("qemu-img")
        .args(arguments)
        .current_dir(directory.path(""))
        .output();
    match done {
        Ok(done) => {
            let error = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "qemu-img {arguments:?}: {error}");
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: the comparison with qemu-img, which cannot be run: {error}");
            false
        }
    }
}

/// A small qcow2 of our own making: 1 MiB, 64 KiB clusters, nothing allocated.
pub(crate) fn empty_qcow2(directory: &TestDirectory, name: &str) -> PathBuf {
    let path = directory.path(name);
    let new = crate::qcow2::NewQcow2 {
        size: 1 << 20,
        cluster_bits: 16,
        lazy_refcounts: false,
        backing: None,
    };
    crate::file::create_whole(&path, false, |file| crate::qcow2::write_new(file, &new)).unwrap();
    path
}

/// A file in memory that remembers what was done to it, and may refuse to.
#[derive(Debug, Default)]
pub(crate) struct TestStorage(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    bytes: Vec<u8>,
    log: Vec<Change>,
    changes: usize,
    /// The number of the change that fails, with this error.
    fails: Option<(usize, Errno)>,
}

/// What was done to a [`TestStorage`].
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(u64, Vec<u8>),
    Zero(u64, u64),
    Length(u64),
    Sync,
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u64| usize::try_from(at).unwrap();
        match self {
            Change::Write(at, data) => {
                let end = place(*at) + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[place(*at)..end].copy_from_slice(data);
            }
            Change::Zero(at, len) => {
                let end = place(at + len).min(bytes.len());
                if place(*at) < end {
                    bytes[place(*at)..end].fill(0);
                }
            }
            Change::Length(len) => bytes.resize(place(*len), 0),
            Change::Sync => {}
        }
    }
}

impl TestStorage {
    pub(crate) fn holding(bytes: Vec<u8>) -> TestStorage {
        TestStorage(Mutex::new(Recorded {
            bytes,
            ..Recorded::default()
        }))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    /// Changes until now.
    pub(crate) fn position(&self) -> usize {
        self.0.lock().unwrap().changes
    }

    pub(crate) fn fail(&self, change: usize, error: Errno) {
        self.0.lock().unwrap().fails = Some((change, error));
    }

    pub(crate) fn log(&self) -> Vec<Change> {
        self.0.lock().unwrap().log.clone()
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut recorded = self.0.lock().unwrap();
        let number = recorded.changes;
        recorded.changes += 1;
        if let Some((fails, error)) = recorded.fails
            && fails == number
        {
            if let Change::Write(at, data) = &change {
                // A part of it, as a full disk does.
                let half = data[..data.len() / 1024 * 512].to_vec();
                Change::Write(*at, half).apply(&mut recorded.bytes);
            }
            return Err(error.into());
        }
        change.apply(&mut recorded.bytes);
        recorded.log.push(change);
        Ok(())
    }
}

impl Storage for TestStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let recorded = self.0.lock().unwrap();
        let there = recorded.bytes.get(usize::try_from(offset).unwrap()..);
        let there = there.unwrap_or_default();
        let len = there.len().min(buf.len());
        buf[..len].copy_from_slice(&there[..len]);
        buf[len..].fill(0);
        Ok(())
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        Storage::read_at(self, buf, offset).map(|()| true)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(offset, buf.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        self.change(Change::Sync)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Change::Zero(offset, len))
    }
}

/// What may be in the file when power fails before change `cut`: all up to the last barrier, and of
/// what came after it any part, in sectors. With `in_order`, all until then: what a killed process
/// leaves.
pub(crate) fn after_power_cut(
    first: &[u8],
    log: &[Change],
    cut: usize,
    seed: u64,
    in_order: bool,
) -> Vec<u8> {
    let mut bytes = first.to_vec();
    let stable = log[..cut].iter().rposition(|it| matches!(it, Change::Sync));
    let stable = if in_order { cut } else { stable.unwrap_or(0) };
    for change in &log[..stable] {
        change.apply(&mut bytes);
    }
    let chances = pattern(1 << 16, seed);
    let mut chances = chances.iter().cycle();
    let mut chance = || chances.next().is_some_and(|byte| byte & 1 == 0);
    for change in &log[stable..cut] {
        match change {
            Change::Write(at, data) => {
                for (number, sector) in data.chunks(512).enumerate() {
                    if chance() {
                        let at = at + number as u64 * 512;
                        Change::Write(at, sector.to_vec()).apply(&mut bytes);
                    }
                }
            }
            other if chance() => other.apply(&mut bytes),
            _ => {}
        }
    }
    bytes
}

pub(crate) fn read_all(disk: &dyn crate::BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len()).unwrap()];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
