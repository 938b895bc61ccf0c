//! A thread that serves queues, and the means to stop it between two batches.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::virtio::interrupts::Interrupts;
use crate::virtio::{Backend, Doorbell, Next, Ring, WorkerPlan};

/// The driver has not set DRIVER_OK.
pub(super) const HOLD_INACTIVE: u8 = 1 << 0;
/// The machine saves, restores or is paused.
pub(super) const HOLD_PAUSED: u8 = 1 << 1;
/// The function may not master the bus.
pub(super) const HOLD_NO_MASTER: u8 = 1 << 2;
/// The driver broke the protocol; only a reset helps.
pub(super) const HOLD_BROKEN: u8 = 1 << 3;

/// What the lock of a worker protects. Whoever has it knows that no request is in flight.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) rings: Vec<Ring>,
    pub(super) backend: Box<dyn Backend>,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    held: AtomicU8,
    ending: AtomicBool,
    waker: Arc<Doorbell>,
    events: Option<OwnedFd>,
    bells: Vec<Arc<Doorbell>>,
    /// Of the bells, so many are not ours to hear now: the first.
    given_away: AtomicUsize,
    interrupts: Arc<Interrupts>,
}

/// What ends the thread's sleep, beside its bells.
#[derive(Debug, Clone, Copy, Default)]
struct Sleep {
    timeout: Option<Duration>,
    /// The device's events count.
    listening: bool,
}

#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// A worker that is held until released. Its thread begins with [`Worker::start`].
    pub(super) fn new(
        mut rings: Vec<Ring>,
        plan: WorkerPlan,
        interrupts: Arc<Interrupts>,
    ) -> io::Result<Worker> {
        let bells = rings
            .iter()
            .map(|_| Doorbell::new().map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        for (ring, bell) in rings.iter_mut().zip(&bells) {
            ring.set_bell(Arc::clone(bell));
        }
        Ok(Worker {
            shared: Arc::new(Shared {
                work: Mutex::new(Work {
                    rings,
                    backend: plan.backend,
                }),
                held: AtomicU8::new(HOLD_INACTIVE | HOLD_NO_MASTER),
                ending: AtomicBool::new(false),
                waker: plan.waker,
                events: plan.events,
                bells,
                given_away: AtomicUsize::new(0),
                interrupts,
            }),
            thread: None,
        })
    }

    /// Begins the thread if there is none yet. Lazily: a device that no driver takes costs none.
    pub(super) fn start(&mut self, name: &str) -> io::Result<()> {
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let work = self.work().backend.work();
            self.thread = Some(threads::spawn(work, name, move || shared.run())?);
        }
        Ok(())
    }

    /// Waits until no request is in flight, and hands out what the worker works on.
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.shared.work()
    }

    /// No request is in flight when this returns, and none begins until `why` is released.
    pub(super) fn hold(&self, why: u8) {
        self.shared.held.fetch_or(why, Ordering::AcqRel);
        self.shared.rest(&mut self.work());
    }

    /// Takes one reason to be idle away. With the last, all queues are looked at.
    pub(super) fn release(&self, why: u8) {
        self.shared.held.fetch_and(!why, Ordering::AcqRel);
        self.shared.waker.ring();
    }

    /// The driver has notified queue `index`. Serves it at once where that takes no time, else wakes
    /// the thread.
    pub(super) fn notify(&self, index: usize) {
        let served = self.shared.serve_now(index);
        if !served && let Some(bell) = self.bell(index) {
            bell.ring();
        }
    }

    /// The bell of the worker's queue `index`.
    pub(super) fn bell(&self, index: usize) -> Option<&Arc<Doorbell>> {
        self.shared.bells.get(index)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.shared.waker.ring();
        if let Some(thread) = self.thread.take() {
            // It ends after at most one batch. A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut sleep = Sleep::default();
        let mut rung = vec![false; self.bells.len()];
        // Said before the bell that tells of it, which either of the two may hear.
        while !self.ending.load(Ordering::Acquire) {
            self.wait(sleep, &mut rung);
            sleep = self.turn(&mut rung);
        }
    }

    /// Sleeps until a bell rings or the time is up, and marks the queues to serve.
    fn wait(&self, sleep: Sleep, rung: &mut [bool]) {
        let own = &self.bells[self.given_away()..];
        let bells = std::iter::once(&self.waker).chain(own);
        let mut fds: Vec<PollFd<'_>> = bells
            .map(|bell| PollFd::new(&**bell, PollFlags::IN))
            .collect();
        let events = self.events.as_ref().filter(|_| sleep.listening);
        fds.extend(events.map(|events| PollFd::new(events, PollFlags::IN)));
        let timeout = sleep
            .timeout
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        // An error leaves us to look at all queues, which is never wrong.
        let ready = poll(&mut fds, timeout.as_ref());
        let mut happened = fds.iter().skip(1 + own.len());
        let happened = happened.any(|fd| !fd.revents().is_empty());
        // Somebody asked to be called back by time: look at all, whatever woke us.
        if timeout.is_some() || ready.is_err() || happened {
            rung.fill(true);
        }
        self.hear(rung);
    }

    /// Marks the queues whose bells have been rung, all of them if the worker's own has.
    fn hear(&self, rung: &mut [bool]) {
        if self.waker.take() {
            rung.fill(true);
        }
        let own = rung.iter_mut().zip(&self.bells).skip(self.given_away());
        for (rung, bell) in own {
            *rung |= bell.take();
        }
    }

    /// Changes while we hold the lock, or are held: then the waker rings before it matters.
    fn given_away(&self) -> usize {
        let count = self.given_away.load(Ordering::Acquire);
        count.min(self.bells.len())
    }

    /// Nothing is done for the worker by anybody else when this returns.
    fn rest(&self, work: &mut Work) {
        let rested = work.backend.rest(&mut work.rings);
        self.given_away
            .store(work.backend.given_away(), Ordering::Release);
        if rested.is_err() {
            self.break_off();
        }
    }

    /// Answers whether nothing is left in the queue. Never waits: a worker at its work, and whoever
    /// holds it, has the lock.
    fn serve_now(&self, queue: usize) -> bool {
        let Ok(mut work) = self.work.try_lock() else {
            return false;
        };
        // As the thread does, under the lock.
        if self.held.load(Ordering::Acquire) != 0 {
            return false;
        }
        let Work { rings, backend } = &mut *work;
        let served = backend.serve_now(queue, rings);
        if served.is_err() {
            self.give_up(&mut work);
        }
        matches!(served, Ok(Next::Wait) | Err(_))
    }

    /// The driver broke the protocol.
    fn give_up(&self, work: &mut Work) {
        self.break_off();
        self.rest(work);
    }

    fn break_off(&self) {
        self.held.fetch_or(HOLD_BROKEN, Ordering::AcqRel);
        self.interrupts.ask_for_reset();
    }

    /// Serves the marked queues in turn, batch by batch, until all are empty. Answers how to sleep.
    fn turn(&self, rung: &mut [bool]) -> Sleep {
        let mut timeout: Option<Duration> = None;
        while rung.contains(&true) {
            // A queue that is never empty does not make the others wait.
            self.hear(rung);
            for (queue, rung) in rung.iter_mut().enumerate().filter(|(_, rung)| **rung) {
                let mut work = self.work();
                // Asked under the lock: whoever holds us took it after saying so.
                if self.held.load(Ordering::Acquire) != 0 || self.ending.load(Ordering::Acquire) {
                    *rung = false;
                    continue;
                }
                let Work { rings, backend } = &mut *work;
                let served = backend.serve(queue, rings);
                self.given_away
                    .store(backend.given_away(), Ordering::Release);
                match served {
                    Ok(Next::Again) => {}
                    Ok(Next::Wait) => *rung = false,
                    Ok(Next::After(delay)) => {
                        *rung = false;
                        timeout = Some(timeout.map_or(delay, |timeout| timeout.min(delay)));
                    }
                    Err(_) => {
                        *rung = false;
                        self.give_up(&mut work);
                    }
                }
            }
        }
        let listening = self.held.load(Ordering::Acquire) == 0 && self.work().backend.listens();
        Sleep { timeout, listening }
    }
}

#[cfg(test)]
mod tests;
