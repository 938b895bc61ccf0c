//! A disk in memory that can fail.

#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use block::{BlockDevice, check_range};

#[derive(Debug)]
pub(crate) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    pub(crate) read_only: bool,
    pub(crate) fails: bool,
    /// Of the host's storage, nothing is left.
    pub(crate) full: AtomicBool,
    pub(crate) flushes: AtomicU32,
    /// All of it can be read without waiting.
    pub(crate) cached: bool,
    /// Reads that may have waited.
    pub(crate) patient_reads: AtomicU32,
    /// Milliseconds that each of those takes.
    pub(crate) takes: AtomicU32,
}

impl MemoryDisk {
    pub(crate) fn new(len: usize) -> MemoryDisk {
        MemoryDisk {
            bytes: Mutex::new(vec![0; len]),
            read_only: false,
            fails: false,
            full: AtomicBool::new(false),
            flushes: AtomicU32::new(0),
            cached: false,
            patient_reads: AtomicU32::new(0),
            takes: AtomicU32::new(0),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len(), offset, buf.len() as u64)?;
        if self.fails {
            return Err(io::Error::other("bad sector"));
        }
        buf.copy_from_slice(&self.bytes.lock().unwrap()[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn change(&self, offset: u64, len: u64, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        check_range(self.len(), offset, len)?;
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change(&mut self.bytes.lock().unwrap()[offset as usize..(offset + len) as usize]);
        Ok(())
    }
}

impl BlockDevice for MemoryDisk {
    fn len(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.patient_reads.fetch_add(1, Ordering::Relaxed);
        let takes = self.takes.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(takes.into()));
        self.read(buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.cached {
            self.read(buf, offset)?;
        }
        Ok(self.cached)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change(offset, buf.len() as u64, |to| to.copy_from_slice(buf))
    }

    fn flush(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(offset, len, |to| to.fill(0))
    }

    fn write_zeroes(&self, offset: u64, len: u64, _unmap: bool) -> io::Result<()> {
        self.change(offset, len, |to| to.fill(0))
    }

    fn identify(&self) -> String {
        "memory".into()
    }
}
