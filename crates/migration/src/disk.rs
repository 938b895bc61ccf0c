//! A disk that knows which of it was written, while somebody wants to know.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use block::{BlockDevice, Checkpoint, Extent};

/// Bytes of a disk that are written, for this purpose, together.
pub const CHUNK: u64 = 64 << 10;

/// A disk as it is, and its log. Writing costs a look at whether there is one.
#[derive(Debug)]
pub struct Tracked {
    disk: Arc<dyn BlockDevice>,
    /// One bit a chunk.
    log: RwLock<Option<Box<[AtomicU64]>>>,
    /// One takes it at a time.
    taking: Mutex<()>,
}

impl Tracked {
    #[must_use]
    pub fn new(disk: Arc<dyn BlockDevice>) -> Tracked {
        Tracked {
            disk,
            log: RwLock::new(None),
            taking: Mutex::new(()),
        }
    }

    /// Begins to write down what is written, of which nothing is known then; or ends that.
    pub fn track(&self, on: bool) {
        let words = usize::try_from(self.disk.len().div_ceil(CHUNK).div_ceil(64)).unwrap_or(0);
        let log = on.then(|| (0..words).map(|_| AtomicU64::new(0)).collect());
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Chunks that were written since it was asked last, ascending.
    #[must_use]
    pub fn take_written(&self) -> Vec<u64> {
        let _one = self.taking.lock();
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let mut chunks = Vec::new();
        for (index, word) in log.iter().flatten().enumerate() {
            let mut rest = word.swap(0, Ordering::AcqRel);
            while rest != 0 {
                chunks.push(index as u64 * 64 + u64::from(rest.trailing_zeros()));
                rest &= rest - 1;
            }
        }
        chunks
    }

    /// After the write: whoever takes the log and reads then, has read it or finds it in the next.
    fn written(&self, offset: u64, len: u64) {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = log.as_deref().filter(|_| len > 0) else {
            return;
        };
        for chunk in offset / CHUNK..=(offset + len - 1) / CHUNK {
            if let Some(word) = usize::try_from(chunk / 64).ok().and_then(|at| log.get(at)) {
                word.fetch_or(1 << (chunk % 64), Ordering::AcqRel);
            }
        }
    }
}

impl BlockDevice for Tracked {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.disk.read_now(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let done = self.disk.write_at(buf, offset);
        // Also one that failed, which may have written a part.
        self.written(offset, buf.len() as u64);
        done
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let done = self.disk.discard(offset, len);
        self.written(offset, len);
        done
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        let done = self.disk.write_zeroes(offset, len, unmap);
        self.written(offset, len);
        done
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
