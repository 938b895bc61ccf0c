//! From the guest to a host writer that may block: a bounded queue and a thread.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::virtio::Doorbell;

/// Bytes that wait for the writer.
const LIMIT: usize = 64 << 10;

struct Queue {
    bytes: VecDeque<u8>,
    /// Until its thread takes it.
    writer: Option<Box<dyn Write + Send>>,
    /// The thread is writing bytes that are no longer in the queue.
    writing: bool,
    /// Nobody will read what is written: swallow it, as a terminal without a reader does.
    broken: bool,
    ending: bool,
    /// Rung when there is room again.
    room: Option<Arc<Doorbell>>,
}

struct Inner {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The host's side of a port's output. Dropping it lets the thread write what is left.
pub(super) struct Output {
    inner: Arc<Inner>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Output {
        Output {
            inner: Arc::new(Inner {
                queue: Mutex::new(Queue {
                    bytes: VecDeque::new(),
                    writer: Some(writer),
                    writing: false,
                    broken: false,
                    ending: false,
                    room: None,
                }),
                changed: Condvar::new(),
            }),
        }
    }

    /// Who is to be told when there is room again.
    pub(super) fn set_room_bell(&self, bell: Option<Arc<Doorbell>>) {
        self.inner.lock().room = bell;
    }

    /// Bytes that fit now.
    pub(super) fn room(&self) -> usize {
        let queue = self.inner.lock();
        LIMIT - queue.bytes.len().min(LIMIT)
    }

    /// Takes bytes for which there is room.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut queue = self.inner.lock();
        if queue.broken {
            return;
        }
        if let Some(writer) = queue.writer.take() {
            let inner = Arc::clone(&self.inner);
            let run = move || inner.run(writer);
            if threads::spawn(threads::Work::Device, "console-output", run).is_err() {
                queue.broken = true;
                return;
            }
        }
        queue.bytes.extend(bytes);
        drop(queue);
        self.inner.changed.notify_all();
    }

    /// Waits until all is written. Answers whether it is.
    pub(super) fn drain(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut queue = self.inner.lock();
        while !queue.bytes.is_empty() || queue.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.inner.changed.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Not joined: the writer may be blocked for good. See ConsoleHandle::drain.
        self.inner.lock().ending = true;
        self.inner.changed.notify_all();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut writer: Box<dyn Write + Send>) {
        let mut queue = self.lock();
        loop {
            if queue.bytes.is_empty() {
                if queue.ending {
                    return;
                }
                let woken = self.changed.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let piece: Vec<u8> = queue.bytes.drain(..).collect();
            queue.writing = true;
            if let Some(bell) = &queue.room {
                bell.ring();
            }
            drop(queue);
            let written = writer.write_all(&piece).and_then(|()| writer.flush());
            queue = self.lock();
            queue.writing = false;
            if written.is_err() {
                queue.broken = true;
                queue.bytes.clear();
            }
            self.changed.notify_all();
        }
    }
}
