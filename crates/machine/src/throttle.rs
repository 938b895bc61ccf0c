//! The thread that keeps a guest to its share of the host's processors.
//!
//! It counts the processor time of the whole process, as a control group would, and lets the vCPUs
//! stand still when that is too much. They do not leave their threads for it, and the guest's clock
//! goes on: to the guest it looks like a host with other things to do.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::limits::{CpuBudget, Look, Turn};
use crate::sync::{lock, wait_for};

/// What a throttle does to a guest.
pub(crate) trait Holds: Send + Sync {
    /// Lets the vCPUs stand still, or go on. Answers how many there are, or nothing when they have
    /// gone for ever.
    fn hold(&self, held: bool) -> Option<usize>;
}

#[derive(Debug, Default)]
struct Wish {
    /// Processors.
    share: Option<f64>,
    /// Moves with every change.
    changes: u64,
    has_thread: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Throttle {
    wish: Mutex<Wish>,
    changed: Condvar,
}

impl Throttle {
    /// Keeps `guest` to `share` processors from now on. A share that is no number bigger than zero is
    /// none.
    pub(crate) fn set(self: &Arc<Self>, share: Option<f64>, guest: impl Holds + 'static) {
        let mut wish = lock(&self.wish);
        wish.share = share.filter(|share| share.is_finite() && *share > 0.0);
        wish.changes += 1;
        self.changed.notify_all();
        if wish.share.is_some() && !wish.has_thread {
            let throttle = Arc::clone(self);
            let run = move || throttle.run(&guest);
            // A host without a thread left has other limits for this guest.
            wish.has_thread = threads::spawn(threads::Work::Device, "throttle", run).is_ok();
        }
    }

    fn run(&self, guest: &impl Holds) {
        let mut wish = lock(&self.wish);
        while let Some(share) = wish.share {
            let changes = wish.changes;
            drop(wish);
            self.keep(share, changes, guest);
            wish = lock(&self.wish);
            if guest.hold(false).is_none() {
                break;
            }
        }
        wish.has_thread = false;
    }

    /// Until the wish changes, or the guest has gone.
    fn keep(&self, share: f64, changes: u64, guest: &impl Holds) {
        let Some(vcpus) = guest.hold(false) else {
            return;
        };
        let mut budget = CpuBudget::new(share, vcpus);
        let mut before = Look::now();
        let mut turn = Turn::Run(Duration::ZERO);
        loop {
            let (delay, held) = match turn {
                Turn::Run(delay) => (delay, false),
                Turn::Hold(delay) => (delay, true),
            };
            if guest.hold(held).is_none() {
                return;
            }
            let mut wish = lock(&self.wish);
            if wish.changes == changes {
                wish = wait_for(&self.changed, wish, delay);
            }
            if wish.changes != changes {
                return;
            }
            drop(wish);
            let now = Look::now();
            let (elapsed, taken) = now.since(&before);
            turn = budget.account(elapsed, taken);
            before = now;
        }
    }
}
