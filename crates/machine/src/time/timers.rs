//! Timers of a guest, all of a queue on one thread.
//!
//! A timer is in the set at most once, so a guest that rearms one for ever makes nothing grow.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use devices::{Clock, Timer};

use super::MachineClock;
use crate::sync::{lock, wait, wait_for};

/// Called on the timer thread with the clock's time. Locks its device and lets it expire.
type Callback = Arc<dyn Fn(u64) + Send + Sync>;

/// Sleep no longer than this at once, so that a host clock that jumps does no lasting harm.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    /// Armed timers by deadline, then by number.
    armed: BTreeSet<(u64, usize)>,
    /// Deadline of each timer that is armed.
    deadlines: Vec<Option<u64>>,
    callbacks: Vec<Option<Callback>>,
    /// What the thread sleeps until.
    sleeping_until: u64,
    stopping: bool,
}

struct Inner {
    clock: Arc<MachineClock>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue").finish_non_exhaustive()
    }
}

/// Owner of the timer thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct TimerQueue {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

/// One alarm. Armed by a device, which is called when it expires.
#[derive(Debug)]
pub(crate) struct QueueTimer {
    queue: Weak<Inner>,
    index: usize,
}

impl TimerQueue {
    /// `name` is its thread's.
    ///
    /// # Errors
    /// When the host has no thread for it.
    pub(crate) fn start(clock: Arc<MachineClock>, name: &str) -> std::io::Result<TimerQueue> {
        let inner = Arc::new(Inner {
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let worker = Arc::clone(&inner);
        let thread = threads::spawn(threads::Work::Device, name, move || worker.work())?;
        Ok(TimerQueue {
            inner,
            thread: Some(thread),
        })
    }

    /// A new timer, to be given to a device before the device is shared.
    pub(crate) fn timer(&self) -> Arc<QueueTimer> {
        let mut state = lock(&self.inner.state);
        state.deadlines.push(None);
        state.callbacks.push(None);
        Arc::new(QueueTimer {
            queue: Arc::downgrade(&self.inner),
            index: state.deadlines.len() - 1,
        })
    }

    /// Says what happens when `timer` expires.
    pub(crate) fn connect(&self, timer: &QueueTimer, callback: Callback) {
        if let Some(slot) = lock(&self.inner.state).callbacks.get_mut(timer.index) {
            *slot = Some(callback);
        }
    }

    /// The clock was paused, resumed or set.
    pub(crate) fn clock_changed(&self) {
        let _state = lock(&self.inner.state);
        self.inner.changed.notify_one();
    }
}

impl Drop for TimerQueue {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.inner.state);
            state.stopping = true;
            // Callbacks hold devices, and devices hold timers.
            state.callbacks.clear();
            self.inner.changed.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn work(&self) {
        let mut state = lock(&self.state);
        while !state.stopping {
            let now = self.clock.now();
            // Once a round: a clock that is resumed between two looks makes an alarm that is due look like one to come.
            let paused = self.clock.is_paused();
            match state.armed.first().copied() {
                Some((deadline, index)) if deadline <= now && !paused => {
                    state.armed.pop_first();
                    state.deadlines[index] = None;
                    let callback = state.callbacks.get(index).cloned().flatten();
                    drop(state);
                    if let Some(callback) = callback {
                        callback(now);
                    }
                    state = lock(&self.state);
                }
                Some((deadline, _)) if !paused => {
                    state.sleeping_until = deadline;
                    let time = Duration::from_nanos(deadline.saturating_sub(now));
                    let time = time.min(LONGEST_SLEEP);
                    state = wait_for(&self.changed, state, time);
                }
                _ => {
                    state.sleeping_until = u64::MAX;
                    state = wait(&self.changed, state);
                }
            }
        }
    }

    fn set(&self, index: usize, deadline: Option<u64>) {
        self.change(&mut lock(&self.state), index, deadline);
    }

    fn set_by(&self, index: usize, deadline: u64) {
        let mut state = lock(&self.state);
        let before = state.deadlines.get(index).copied().flatten();
        if before.is_none_or(|before| before > deadline) {
            self.change(&mut state, index, Some(deadline));
        }
    }

    fn change(&self, state: &mut State, index: usize, deadline: Option<u64>) {
        let Some(slot) = state.deadlines.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(slot, deadline);
        if let Some(before) = before {
            state.armed.remove(&(before, index));
        }
        if let Some(deadline) = deadline {
            state.armed.insert((deadline, index));
            if deadline < state.sleeping_until {
                self.changed.notify_one();
            }
        }
    }
}

impl Timer for QueueTimer {
    fn arm(&self, deadline: u64) {
        if let Some(queue) = self.queue.upgrade() {
            queue.set(self.index, Some(deadline));
        }
    }

    fn arm_by(&self, deadline: u64) {
        if let Some(queue) = self.queue.upgrade() {
            queue.set_by(self.index, deadline);
        }
    }

    fn disarm(&self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.set(self.index, None);
        }
    }
}

#[cfg(test)]
mod tests;
