//! What goes to and comes from a disk, counted.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::{BlockDevice, Checkpoint, Extent};

/// Of one kind of request.
#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    failed: AtomicU64,
}

/// Of one kind of request: those that were done, what they carried and how long they took together, and those that
/// failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub bytes: u64,
    pub nanoseconds: u64,
    pub failed: u64,
}

impl Counters {
    fn count<T>(&self, bytes: u64, request: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let began = Instant::now();
        let done = request();
        if done.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return done;
        }
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        done
    }

    fn now(&self) -> Counts {
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// What a disk has carried since it was opened. Any thread may ask.
#[derive(Debug, Default)]
pub struct Traffic {
    read: Counters,
    write: Counters,
    flush: Counters,
    /// Discarding, and writing zeros, which move no bytes: `bytes` is how many became so.
    unmap: Counters,
    highest: AtomicU64,
}

impl Traffic {
    /// The end of the last byte, of those written, that lies furthest back.
    #[must_use]
    pub fn highest_written(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn read(&self) -> Counts {
        self.read.now()
    }

    #[must_use]
    pub fn written(&self) -> Counts {
        self.write.now()
    }

    #[must_use]
    pub fn flushed(&self) -> Counts {
        self.flush.now()
    }

    #[must_use]
    pub fn unmapped(&self) -> Counts {
        self.unmap.now()
    }
}

/// A disk whose traffic is counted.
#[derive(Debug)]
pub struct Counted {
    disk: Arc<dyn BlockDevice>,
    traffic: Arc<Traffic>,
}

impl Counted {
    #[must_use]
    pub fn new(disk: Arc<dyn BlockDevice>, traffic: Arc<Traffic>) -> Counted {
        Counted { disk, traffic }
    }
}

impl BlockDevice for Counted {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let read = &self.traffic.read;
        read.count(buf.len() as u64, || self.disk.read_at(buf, offset))
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let began = Instant::now();
        let read = self.disk.read_now(buf, offset)?;
        if read {
            let counters = &self.traffic.read;
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            counters.requests.fetch_add(1, Ordering::Relaxed);
            counters
                .bytes
                .fetch_add(buf.len() as u64, Ordering::Relaxed);
            counters.nanoseconds.fetch_add(took, Ordering::Relaxed);
        }
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let write = &self.traffic.write;
        write.count(buf.len() as u64, || self.disk.write_at(buf, offset))?;
        let end = offset + buf.len() as u64;
        self.traffic.highest.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.traffic.flush.count(0, || self.disk.flush())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let unmap = &self.traffic.unmap;
        unmap.count(len, || self.disk.discard(offset, len))
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        let counters = &self.traffic.unmap;
        counters.count(len, || self.disk.write_zeroes(offset, len, unmap))
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        self.disk.extent(offset, len)
    }

    fn save_overlay(&self, to: &File) -> io::Result<bool> {
        self.disk.save_overlay(to)
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<Option<Vec<Range<u64>>>> {
        self.disk.checkpoint(checkpoint)
    }

    fn hold(&self, held: bool) -> io::Result<()> {
        self.disk.hold(held)
    }

    fn identify(&self) -> String {
        self.disk.identify()
    }
}

#[cfg(test)]
mod tests;
