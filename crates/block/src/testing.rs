//! Files for tests, each in a directory that goes with the test.

use std::fs::{create_dir_all, remove_dir_all};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

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
    use imago::file::File;
    use imago::qcow2::Qcow2;
    use imago::{FormatCreateBuilder, StorageOpenOptions};
    let path = directory.path(name);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let storage =
        File::from_open_file(file, StorageOpenOptions::new().write(true).filename(&path)).unwrap();
    let builder = Qcow2::<File>::create_builder(storage).size(1 << 20);
    builder.create().unwrap();
    path
}

pub(crate) fn read_all(disk: &dyn crate::BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len()).unwrap()];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
