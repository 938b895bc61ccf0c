//! How a machine's threads begin: each says what it works at, and whoever runs the machine may have it
//! give up what such work does not need.
//!
//! A thread hands on what it gave up to those that it makes. So with a rule, threads are not made by
//! whoever wants one, which may be a processor's, but by one that does nothing else.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;

/// What a thread works at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// Runs guest code.
    Processor,
    /// Serves a device by descriptors that are open: disks, consoles, timers and all others.
    Device,
    /// Serves a network card.
    Network,
    /// Serves a folder of the host's.
    Folder,
    /// Serves a socket device.
    Sockets,
    /// Has memory come that the guest misses.
    Pager,
}

/// Called by each thread before its work.
pub type Rule = fn(Work);

type Job = Box<dyn FnOnce() + Send>;

struct Ruled {
    rule: Rule,
    jobs: Mutex<Sender<Job>>,
}

static RULED: OnceLock<Ruled> = OnceLock::new();

/// What a machine with many devices may open.
const DESCRIPTORS: RawFd = 512;

thread_local! {
    static MAKES_THREADS: Cell<bool> = const { Cell::new(false) };
}

/// From now on each thread begins with `rule`. Once, and from a thread that is free to do all that any
/// of them needs.
///
/// # Errors
/// When the host has no thread left.
pub fn set_rule(rule: Rule) -> io::Result<()> {
    make_room_for_descriptors();
    let (jobs, wanted) = channel();
    Builder::new()
        .name("threads".into())
        .spawn(move || make(&wanted))?;
    let jobs = Mutex::new(jobs);
    RULED
        .set(Ruled { rule, jobs })
        .map_err(|_| io::ErrorKind::AlreadyExists.into())
}

/// Where a table of descriptors grows that threads have in common, the kernel lets whoever wants the next one wait until
/// no processor of the host looks into the old table, which takes some 15 ms. So it grows while there are none.
fn make_room_for_descriptors() {
    if let Ok(any) = eventfd(0, EventfdFlags::CLOEXEC) {
        // Who may not have so many, does not need them.
        let _ = fcntl_dupfd_cloexec(any, DESCRIPTORS - 1);
    }
}

fn make(wanted: &Receiver<Job>) {
    MAKES_THREADS.set(true);
    for job in wanted {
        job();
    }
}

/// A thread of this name that does `body`.
///
/// # Errors
/// When the host has no thread left.
pub fn spawn<T: Send + 'static>(
    work: Work,
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = Builder::new().name(name.to_owned());
    apart(move || {
        builder.spawn(move || {
            begin(work);
            body()
        })
    })
}

/// Does `body` where threads are made: by one that has given up nothing, and whose threads have not
/// either. It is to be short, and not to wait for anybody who waits for a thread.
pub fn apart<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(ruled) = RULED.get().filter(|_| !MAKES_THREADS.get()) else {
        return body();
    };
    let (tell, told) = channel();
    let job = Box::new(move || drop(tell.send(body())));
    let jobs = ruled.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    jobs.send(job).expect("the thread that makes threads lives");
    drop(jobs);
    told.recv().expect("what it does, does not panic")
}

/// For threads that are made otherwise: follows the rule for this one.
pub fn begin(work: Work) {
    if let Some(ruled) = RULED.get() {
        (ruled.rule)(work);
    }
}

#[cfg(test)]
mod tests;
