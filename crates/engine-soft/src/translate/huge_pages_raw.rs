//! Huge pages for what translated code reaches all the time.
//!
//! To put a range into one, the kernel has every processor of the host do something first. On a busy host that takes
//! many milliseconds, in which whoever asks stands still. So it is not a vCPU that asks, but a thread of the process,
//! and the guest runs on.

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use threads::{Work, spawn};

/// Bytes of a huge page.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// Who is asked, with addresses of ranges. None where the host has no thread left.
static ASKED: OnceLock<Option<Sender<usize>>> = OnceLock::new();

/// Has the [`HUGE_PAGE`] bytes at `start` put into one page, soon. What they are stays, also when they are
/// somebody else's by then.
pub(super) fn collapse(start: usize) {
    let asked = ASKED.get_or_init(|| {
        let (ask, asked) = channel();
        spawn(Work::Device, "huge-pages", move || serve(&asked))
            .ok()
            .map(|_| ask)
    });
    if let Some(asked) = asked {
        let _ = asked.send(start);
    }
}

fn serve(asked: &Receiver<usize>) {
    for start in asked {
        // SAFETY: contents and protection of the range stay, whosever it is. Kernels before 6.1 do not know how, and
        // a host without huge pages does not: then it is slower, no more.
        unsafe { libc::madvise(start as *mut _, HUGE_PAGE, libc::MADV_COLLAPSE) };
    }
}
