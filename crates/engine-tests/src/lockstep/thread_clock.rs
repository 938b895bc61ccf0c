//! Processor time of a thread, as another thread asks for it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Counts from when it was started, on the thread that started it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThreadClock {
    thread: u32,
    /// `None` where the host's kernel does not tell.
    begun: Option<Duration>,
}

impl ThreadClock {
    pub(super) fn start() -> ThreadClock {
        // Its text is PID/task/TID.
        let own = fs::read_link("/proc/thread-self").unwrap_or_default();
        let number = own.file_name().and_then(|name| name.to_str()?.parse().ok());
        let thread = number.unwrap_or(0);
        ThreadClock {
            thread,
            begun: spent(thread),
        }
    }

    /// `None` where it is not known.
    pub(super) fn elapsed(self) -> Option<Duration> {
        Some(spent(self.thread)?.saturating_sub(self.begun?))
    }
}

/// What the thread had of a processor: the first figure of its `schedstat`, in nanoseconds.
fn spent(thread: u32) -> Option<Duration> {
    let path: PathBuf = ["/proc/self/task", &thread.to_string(), "schedstat"]
        .iter()
        .collect();
    let text = fs::read_to_string(path).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
