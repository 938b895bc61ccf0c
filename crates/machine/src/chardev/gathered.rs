//! A serial port's output in lines rather than bytes.
//!
//! Guests send a byte at a time, and to hand each to the host is a system call or two and wakes its reader:
//! that took a twentieth of a kernel's boot. So bytes are gathered until their line ends, and handed on
//! by whoever sent its end. What has no end yet, such as a prompt, is handed on by a thread of the
//! output's, [`SOON`]; what is there when the guest goes, by the guest's end.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::FdOutput;
use crate::sync::{lock, wait};

/// How long a byte waits for the end of its line: nobody sees it, and few lines take as long.
const SOON: Duration = Duration::from_millis(2);
/// Lines may be endless.
const LONGEST: usize = 1024;

#[derive(Debug)]
struct Gather {
    output: FdOutput,
    held: Vec<u8>,
    /// The thread is looking after what is held, and need not be told.
    watched: bool,
    /// Something came since it looked.
    fresh: bool,
    ending: bool,
}

impl Gather {
    fn hand_on(&mut self) {
        self.output.deliver(&self.held);
        self.held.clear();
    }
}

#[derive(Debug)]
struct Shared {
    gather: Mutex<Gather>,
    changed: Condvar,
}

/// The guest's output end.
#[derive(Debug)]
pub(crate) struct Gathered {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Gathered {
    /// # Errors
    /// When the host has no thread left.
    pub(crate) fn new(output: FdOutput) -> io::Result<Gathered> {
        let shared = Arc::new(Shared {
            gather: Mutex::new(Gather {
                output,
                held: Vec::with_capacity(LONGEST),
                watched: false,
                fresh: false,
                ending: false,
            }),
            changed: Condvar::new(),
        });
        let watcher = Arc::clone(&shared);
        let thread = threads::spawn(threads::Work::Device, "serial", move || watcher.watch())?;
        Ok(Gathered {
            shared,
            thread: Some(thread),
        })
    }
}

impl Shared {
    fn watch(&self) {
        let mut gather = lock(&self.gather);
        while !gather.ending {
            if gather.watched {
                drop(gather);
                std::thread::sleep(SOON);
                gather = lock(&self.gather);
                gather.hand_on();
                // Where there was something there will be more.
                gather.watched = std::mem::take(&mut gather.fresh);
            } else {
                gather = wait(&self.changed, gather);
            }
        }
    }
}

impl Write for Gathered {
    /// Always takes everything: the guest is not to know of the host's troubles.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut gather = lock(&self.shared.gather);
        gather.held.extend_from_slice(bytes);
        gather.fresh = true;
        if gather.held.len() >= LONGEST || gather.held.ends_with(b"\n") {
            gather.hand_on();
        } else if !gather.watched {
            gather.watched = true;
            self.shared.changed.notify_one();
        }
        Ok(bytes.len())
    }

    /// A byte is not worth it: see above.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        {
            let mut gather = lock(&self.shared.gather);
            gather.hand_on();
            gather.ending = true;
            self.shared.changed.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
