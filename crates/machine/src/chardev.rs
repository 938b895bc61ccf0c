//! Between the host's files and the guest's serial ports and consoles.
//!
//! A serial port's output is written by whoever writes the guest's register, a line at a time
//! ([`Gathered`]). A reader that does not read stops the guest for a while, never
//! for ever: then output is dropped until the reader reads again. A console has a thread that waits,
//! so there nothing is dropped until the machine goes ([`Abandon`]). A reader that is gone is none of
//! the guest's business.
//!
//! Input is read by one thread for all devices. A device takes what it has room for; the rest is
//! offered again, and until it is taken no more is read.

mod gathered;

use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

pub(crate) use self::gathered::Gathered;
use crate::control::MachineControl;

/// How long a guest waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it does when somebody wants something of the machine, such as its end.
const HURRY: Duration = Duration::from_millis(500);
/// How often a writer that waits looks whether it still should.
const LOOK: Duration = Duration::from_millis(50);
/// At most this much is written at once: POSIX promises that a pipe that polls writable takes it.
const CHUNK: usize = 4096;
/// Input that a device had no room for is offered again when the device says that it has some, and this often in any
/// case. Not so often that a device which says nothing would pass for one that does.
const RETRY: Duration = Duration::from_millis(250);

/// Why a writer should not wait: the machine goes, or is asked for something.
#[derive(Debug, Default, Clone)]
pub(crate) struct Abandon {
    gone: Arc<AtomicBool>,
    control: MachineControl,
}

impl Abandon {
    pub(crate) fn new(control: MachineControl) -> Abandon {
        Abandon {
            gone: Arc::default(),
            control,
        }
    }

    /// The machine goes: writers wait no longer.
    pub(crate) fn set(&self) {
        self.gone.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// The guest's output end.
#[derive(Debug)]
pub(crate) struct FdOutput {
    fd: OwnedFd,
    /// How long to wait for a reader; `None` is as long as the machine is there.
    patience: Option<Duration>,
    abandon: Abandon,
    /// The reader is gone.
    closed: bool,
    /// The reader did not read for as long as we wait.
    stalled: bool,
}

impl FdOutput {
    /// Waits for a slow reader, but not for ever.
    pub(crate) fn impatient(fd: OwnedFd, abandon: Abandon) -> FdOutput {
        FdOutput {
            fd,
            patience: Some(PATIENCE),
            abandon,
            closed: false,
            stalled: false,
        }
    }

    /// Waits for a slow reader.
    pub(crate) fn patient(fd: OwnedFd, abandon: Abandon) -> FdOutput {
        FdOutput {
            patience: None,
            ..FdOutput::impatient(fd, abandon)
        }
    }

    /// Waits a moment for room.
    fn is_writable(&self) -> io::Result<bool> {
        let wait = if self.stalled { Duration::ZERO } else { LOOK };
        let mut polled = [PollFd::new(&self.fd, PollFlags::OUT)];
        match poll(&mut polled, Some(&timespec(wait))) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the reader had its time?
    fn is_enough(&self, waited: Duration) -> bool {
        let hurried = self.abandon.control.attention();
        self.patience
            .is_some_and(|patience| waited >= patience || hurried && waited >= HURRY)
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_writable()? {
            return Ok(0);
        }
        match rustix::io::write(&self.fd, &bytes[..bytes.len().min(CHUNK)]) {
            Ok(written) => Ok(written),
            // Somebody else writes to the same terminal.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let mut waiting_since = Instant::now();
        let mut rest = bytes;
        while !rest.is_empty() && !self.closed {
            match self.write_some(rest) {
                Ok(0) => {
                    let enough = self.is_enough(waiting_since.elapsed());
                    if enough || self.stalled || self.abandon.is_set() {
                        self.stalled = true;
                        return;
                    }
                }
                Ok(written) => {
                    rest = &rest[written..];
                    self.stalled = false;
                    waiting_since = Instant::now();
                }
                Err(_) => self.closed = true,
            }
        }
    }
}

impl Write for FdOutput {
    /// Always takes everything: the guest is not to know of the host's troubles.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.deliver(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A device that takes input: answers how many of the bytes it had room for.
pub(crate) type Sink = Box<dyn FnMut(&[u8]) -> usize + Send>;

/// One file to read for one device.
pub(crate) struct Input {
    fd: OwnedFd,
    sink: Sink,
    /// Read, and not taken yet.
    held: Vec<u8>,
    ended: bool,
}

impl Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn new(fd: OwnedFd, sink: Sink) -> Input {
        Input {
            fd,
            sink,
            held: Vec::new(),
            ended: false,
        }
    }

    fn wants_more(&self) -> bool {
        self.held.is_empty() && !self.ended
    }

    fn offer(&mut self) {
        if !self.held.is_empty() {
            let taken = (self.sink)(&self.held).min(self.held.len());
            self.held.drain(..taken);
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; CHUNK];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.held.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.ended = true,
        }
    }
}

/// Makes the input thread look around: a device has room, or the thread is to end.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// # Errors
    /// When the host has no descriptor left.
    pub(crate) fn new() -> io::Result<Waker> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Waker(Arc::new(eventfd(0, flags)?)))
    }

    pub(crate) fn wake(&self) {
        // It only fails when it has been rung 2^64 times already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.0, &mut count);
    }
}

/// Everything that is read, and who is woken for it.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) list: Vec<Input>,
    pub(crate) waker: Waker,
}

/// The input thread. It ends when this is stopped or dropped.
#[derive(Debug)]
pub(crate) struct InputThread {
    waker: Waker,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Input>>>,
}

impl InputThread {
    /// # Errors
    /// When the host has no thread left.
    pub(crate) fn start(inputs: Vec<Input>, waker: Waker) -> io::Result<InputThread> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, woken) = (Arc::clone(&stopping), waker.clone());
        let thread = threads::spawn(threads::Work::Device, "input", move || {
            pump(inputs, &woken, &stop)
        })?;
        Ok(InputThread {
            waker,
            stopping,
            thread: Some(thread),
        })
    }

    /// Ends the thread; the inputs, with what they hold, serve the next one.
    pub(crate) fn stop(mut self) -> Vec<Input> {
        self.end()
    }

    fn end(&mut self) -> Vec<Input> {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for InputThread {
    fn drop(&mut self) {
        self.end();
    }
}

fn pump(mut inputs: Vec<Input>, waker: &Waker, stopping: &AtomicBool) -> Vec<Input> {
    while !stopping.load(Ordering::Acquire) {
        match wait(&inputs, waker) {
            Some(readable) => {
                for index in readable {
                    inputs[index].read();
                }
            }
            // A descriptor that cannot be polled: no input, rather than a busy thread.
            None => return inputs,
        }
        for input in &mut inputs {
            input.offer();
        }
    }
    inputs
}

/// Waits for something to do; answers the inputs that can be read.
fn wait(inputs: &[Input], waker: &Waker) -> Option<Vec<usize>> {
    let waiting: Vec<usize> = (0..inputs.len())
        .filter(|&index| inputs[index].wants_more())
        .collect();
    let mut polled = vec![PollFd::new(&*waker.0, PollFlags::IN)];
    let files = waiting.iter().map(|&index| &inputs[index].fd);
    polled.extend(files.map(|fd| PollFd::new(fd, PollFlags::IN)));
    let held = inputs.iter().any(|input| !input.held.is_empty());
    let timeout = held.then(|| timespec(RETRY));
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(_) => return None,
    }
    if !polled[0].revents().is_empty() {
        waker.clear();
    }
    let events = polled[1..].iter().zip(waiting);
    let ready = events.filter(|(event, _)| !event.revents().is_empty());
    Some(ready.map(|(_, index)| index).collect())
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        // A few seconds.
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests;
