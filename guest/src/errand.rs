//! What the host wants of the guest as a whole: each in a thread of its own, since the disk may be slow and the
//! host's commands are to go on meanwhile.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::frame::Errand;
use crate::freeze::Freezer;
use crate::network::Network;
use crate::{clipboard, clock, identity, sys_raw};

/// At a time; more are refused.
const MOST: usize = 8;

/// What is told of a job that is an errand, in bytes of the protocol.
pub(crate) type Answer = Result<Vec<u8>, Refusal>;

/// Why something could not be done.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) errno: i32,
    pub(crate) sentence: String,
}

impl Refusal {
    pub(crate) fn new(what: &str, error: &io::Error) -> Self {
        Self {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            sentence: format!("{what}: {error}"),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            sentence: error.to_string(),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// Where the threads leave what they found out.
#[derive(Debug)]
pub(crate) struct Outcome {
    job: u32,
    tell: Sender<(u32, Answer)>,
    bell: Arc<OwnedFd>,
}

impl Outcome {
    pub(crate) fn tell(&self, answer: Answer) {
        // Nobody waits any more once the agent ends.
        let _ = self.tell.send((self.job, answer));
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

#[derive(Debug)]
pub(crate) struct Errands {
    tell: Sender<(u32, Answer)>,
    told: Receiver<(u32, Answer)>,
    bell: Arc<OwnedFd>,
    running: usize,
    network: Option<Network>,
    freezer: Freezer,
}

impl Errands {
    pub(crate) fn new(network: Option<Network>) -> io::Result<Self> {
        let (tell, told) = channel();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            tell,
            told,
            bell: Arc::new(bell),
            running: 0,
            network,
            freezer: Freezer::default(),
        })
    }

    /// # Errors
    /// When it cannot be begun; otherwise its answer comes later, from [`Errands::answers`].
    pub(crate) fn begin(&mut self, job: u32, errand: Errand) -> Result<(), Refusal> {
        if self.running >= MOST {
            return Err(Errno::BUSY.into());
        }
        let outcome = Outcome {
            job,
            tell: self.tell.clone(),
            bell: Arc::clone(&self.bell),
        };
        match errand {
            // Not through a thread: it would be late.
            Errand::SetTime(wanted) => outcome.tell(clock::set(wanted)),
            Errand::Renew(wanted) => {
                let network = self.network.clone();
                in_thread("renew", move || {
                    outcome.tell(identity::renew(&wanted, network.as_ref()));
                })?;
            }
            Errand::Freeze(milliseconds) => self.freezer.freeze(milliseconds, outcome)?,
            Errand::Thaw => self.freezer.thaw(outcome),
            // In memory, and short.
            Errand::SetClipboard(text) => outcome.tell(clipboard::set(&text)),
            Errand::Clipboard(known) => outcome.tell(clipboard::get(known)),
        }
        self.running += 1;
        Ok(())
    }

    /// What has been found out since this was last asked.
    pub(crate) fn answers(&mut self) -> Vec<(u32, Answer)> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let answers: Vec<_> = self.told.try_iter().collect();
        self.running = self.running.saturating_sub(answers.len());
        answers
    }

    /// File systems that are frozen are so no longer when this returns.
    pub(crate) fn thaw(&mut self) {
        self.freezer.release();
    }
}

impl AsFd for Errands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// # Errors
/// When there is no room for one more thread.
pub(crate) fn in_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.into());
    thread.stack_size(64 << 10).spawn(move || {
        // They are for the thread that has the descriptor of them.
        sys_raw::block_signals();
        work();
    })
}
