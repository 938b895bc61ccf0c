//! The source's side of post-copy: the guest runs at the target, and its memory is still here.
//!
//! Pages that somebody waits for there go at once, all others behind each other, beginning behind the one that was
//! wanted last: who reads on finds them there. So that what is wanted does not queue behind what is not, only so much is
//! on its way ([`WINDOW`]): the target says of each frame that it was taken.
//!
//! **A page is sent once**, as long as the connection lasts. On the next one the target says what it lacks, and that
//! counts: what was on its way may have come or not.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use memory::PageSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frame::{self, Body, FrameError, Kind};
use crate::missing;
use crate::sender::Sender;

/// Pages in one frame of those that nobody waits for.
const BATCH: usize = 32;
/// Frames that are on their way.
const WINDOW: u32 = 8;
/// Pages that a target wants in one frame.
pub(crate) const MOST_WANTED: usize = 64;

/// What the target lacks.
#[derive(Debug)]
pub struct PageServer {
    missing: PageSet,
    /// Frames of pages that it has not said to have taken.
    untaken: u32,
    /// Where it goes on with what nobody waits for.
    next: u64,
    wanted: u64,
    /// The target says anew what it lacks.
    asked: bool,
    /// When it took something last.
    heard: Instant,
}

impl PageServer {
    #[must_use]
    pub fn new(missing: PageSet) -> PageServer {
        PageServer {
            missing,
            untaken: 0,
            next: 0,
            wanted: 0,
            asked: false,
            heard: Instant::now(),
        }
    }

    /// There is another connection, on which nothing was said yet.
    pub fn begin_anew(&mut self) {
        self.missing = PageSet::new(self.missing.all());
        self.untaken = 0;
        self.asked = true;
    }

    /// Pages that were not sent.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.missing.len()
    }

    /// How often somebody waited for a page there.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Sends what is wanted, until the target says a frame of kind `what`.
    ///
    /// # Errors
    /// When the connection fails; when it is not said within `patience`, whatever else is; when anything is said that is
    /// for another time.
    pub fn until(
        &mut self,
        what: Kind,
        sender: &mut Sender<UnixStream>,
        patience: Duration,
    ) -> Result<(), FrameError> {
        let began = Instant::now();
        loop {
            let left = patience.checked_sub(began.elapsed());
            let left = left.ok_or(FrameError::Silent)?;
            if !readable(sender.to(), left)? {
                // A signal may have ended the wait.
                continue;
            }
            match self.hear(sender, patience)? {
                Some(kind) if kind == what => break,
                Some(_) => return Err(FrameError::Nonsense("it says what is for another time")),
                None => {}
            }
        }
        self.asked = false;
        self.heard = Instant::now();
        Ok(())
    }

    /// Sends all that is missing, until the target has it. `told` hears how far that is.
    ///
    /// # Errors
    /// When the connection fails, or the target takes nothing for as long as `patience`.
    pub fn send_all(
        &mut self,
        sender: &mut Sender<UnixStream>,
        patience: Duration,
        mut told: impl FnMut(&PageServer, &Sender<UnixStream>),
    ) -> Result<(), FrameError> {
        loop {
            told(self, sender);
            let left = patience.checked_sub(self.heard.elapsed());
            let left = left.ok_or(FrameError::Silent)?;
            let can_send = self.untaken < WINDOW && !self.missing.is_empty();
            if readable(sender.to(), if can_send { Duration::ZERO } else { left })? {
                match self.hear(sender, patience)? {
                    Some(Kind::Complete) => return Ok(()),
                    Some(_) => {
                        return Err(FrameError::Nonsense("it says what is for another time"));
                    }
                    None => {}
                }
            } else if can_send {
                let batch = self.batch();
                self.send(sender, &batch)?;
            }
        }
    }

    /// The next pages that nobody waits for.
    fn batch(&mut self) -> Vec<u64> {
        let mut pages = Vec::with_capacity(BATCH);
        while pages.len() < BATCH {
            let found = self.missing.next(self.next);
            let Some(page) = found.or_else(|| self.missing.next(0)) else {
                break;
            };
            self.missing.remove(page);
            self.next = page + 1;
            pages.push(page);
        }
        pages
    }

    fn send(&mut self, sender: &mut Sender<UnixStream>, pages: &[u64]) -> Result<(), FrameError> {
        if !pages.is_empty() {
            self.untaken += 1;
            sender.late_pages(pages)?;
        }
        Ok(())
    }

    /// Takes a frame, all of which comes within `patience`, and does what it says; answers its kind where that is for the
    /// caller.
    fn hear(
        &mut self,
        sender: &mut Sender<UnixStream>,
        patience: Duration,
    ) -> Result<Option<Kind>, FrameError> {
        let mut body = Vec::new();
        let mut from = Until(sender.to(), Instant::now() + patience);
        match frame::read(&mut from, &mut body)? {
            Kind::Wanted => {
                let pages = self.take_wanted(&body)?;
                self.send(sender, &pages)?;
            }
            Kind::Taken => {
                self.untaken = self
                    .untaken
                    .checked_sub(1)
                    .ok_or(FrameError::Nonsense("it takes what was not sent"))?;
                self.heard = Instant::now();
            }
            Kind::Missing if self.asked => missing::take(&body, &mut self.missing)?,
            Kind::Refused => {
                let reason = String::from_utf8_lossy(&body).chars().take(1000).collect();
                return Err(FrameError::Refused(reason));
            }
            kind => return Ok(Some(kind)),
        }
        Ok(None)
    }

    /// Of the pages of a frame, those that are not on their way.
    fn take_wanted(&mut self, body: &[u8]) -> Result<Vec<u64>, FrameError> {
        let most = MOST_WANTED * size_of::<u64>();
        let too_many = body.len() > most;
        let mut body = Body(body);
        let mut pages = Vec::new();
        while !body.0.is_empty() {
            let page = body.u64()?;
            if too_many || page >= self.missing.all() {
                return Err(FrameError::Nonsense("it wants what there is not"));
            }
            self.wanted += 1;
            if self.missing.remove(page) {
                self.next = page + 1;
                pages.push(page);
            }
        }
        Ok(pages)
    }
}

/// Reads from somebody who has until then for all of it.
pub(crate) struct Until<'a>(pub(crate) &'a UnixStream, pub(crate) Instant);

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Until(mut stream, until) = *self;
        // A wait that a signal ends goes on.
        while !readable(stream, until.saturating_duration_since(Instant::now()))
            .map_err(io::Error::other)?
        {
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        stream.read(into)
    }
}

/// Whether there is something to read, waiting for that as long as `patience`.
pub(crate) fn readable(of: &impl AsFd, patience: Duration) -> Result<bool, FrameError> {
    let mut fds = [PollFd::new(of, PollFlags::IN)];
    let time = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&time)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(FrameError::Failed(io::Error::from(error))),
    }
}

#[cfg(test)]
mod tests;
