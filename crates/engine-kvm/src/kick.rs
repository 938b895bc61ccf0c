//! Stops a vCPU from another thread.
//!
//! Problem: the kick must not be lost when it comes just before KVM_RUN. Choice: `immediate_exit` in
//! the page shared with the kernel, which KVM_RUN looks at after it can be interrupted, and a signal
//! for when it is in already. Rejected: KVM_SET_SIGNAL_MASK, which costs two changes of the signal
//! mask at every entry.
//!
//! Order matters. Kicker: `kicked`, `immediate_exit`, signal. vCPU on EINTR: clear `immediate_exit`,
//! then take `kicked`. So a kick is seen by one of the two; at worst `immediate_exit` stays set after
//! `kicked` was taken, and the next entry comes back once for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use engine::Kick;

use crate::run_page_raw::RunPage;
use crate::signal_raw;

#[derive(Debug)]
pub(crate) struct KvmKick {
    page: Arc<RunPage>,
    kicked: AtomicBool,
    /// Thread that is in `run` now, 0 for none.
    thread: AtomicI32,
}

impl KvmKick {
    pub(crate) fn new(page: Arc<RunPage>) -> KvmKick {
        KvmKick {
            page,
            kicked: AtomicBool::new(false),
            thread: AtomicI32::new(0),
        }
    }

    /// This thread is about to enter the guest.
    pub(crate) fn enter(&self) {
        self.thread
            .store(signal_raw::prepare_thread(), Ordering::SeqCst);
    }

    /// This thread is back.
    pub(crate) fn leave(&self) {
        self.thread.store(0, Ordering::SeqCst);
    }

    /// After EINTR: was it a kick?
    pub(crate) fn take(&self) -> bool {
        self.page.set_immediate_exit(false);
        self.kicked.swap(false, Ordering::SeqCst)
    }

    /// After a use of `immediate_exit` for our own ends: a kick that came meanwhile still counts.
    pub(crate) fn rearm(&self) {
        self.page.set_immediate_exit(false);
        if self.kicked.load(Ordering::SeqCst) {
            self.page.set_immediate_exit(true);
        }
    }
}

impl Kick for KvmKick {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.page.set_immediate_exit(true);
        let thread = self.thread.load(Ordering::SeqCst);
        if thread != 0 {
            signal_raw::signal_thread(thread);
        }
    }
}
