//! A guest that is slowed down: its vCPUs stand still for a part of each twentieth of a second, whatever else it
//! may use. For a migration, which otherwise never gets to its end where the guest writes faster than the
//! network takes.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{MachineControl, Shared};
use crate::sync::lock;

const PERIOD: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Slow {
    /// Hundredths of the time.
    share: AtomicU8,
    has_thread: AtomicBool,
    held: AtomicBool,
}

impl Slow {
    pub(super) fn holds(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }
}

impl MachineControl {
    /// The vCPUs stand still for so many hundredths of the time from now on, at most 99.
    pub(crate) fn slow_down(&self, share: u8) {
        let slow = &self.shared.slow;
        slow.share.store(share.min(99), Ordering::SeqCst);
        if share > 0 && !slow.has_thread.swap(true, Ordering::SeqCst) {
            let shared = Arc::downgrade(&self.shared);
            let thread = threads::spawn(threads::Work::Device, "slow", move || run(&shared));
            // Without one, the guest is as fast as it was.
            slow.has_thread.store(thread.is_ok(), Ordering::SeqCst);
        }
    }
}

fn run(shared: &Weak<Shared>) {
    loop {
        let Some(here) = shared.upgrade() else {
            return;
        };
        let share = here.slow.share.load(Ordering::SeqCst);
        if share == 0 {
            here.slow.has_thread.store(false, Ordering::SeqCst);
            return;
        }
        let held = PERIOD * share.into() / 100;
        hold(&here, true);
        drop(here);
        std::thread::sleep(held);
        if let Some(here) = shared.upgrade() {
            hold(&here, false);
        }
        std::thread::sleep(PERIOD - held);
    }
}

fn hold(shared: &Shared, held: bool) {
    shared.slow.held.store(held, Ordering::SeqCst);
    for vcpu in lock(&shared.vcpus).iter() {
        vcpu.wake();
    }
}
