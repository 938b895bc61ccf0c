//! The target's side of post-copy: the guest runs here, and what of its memory is missing comes.
//!
//! Two threads serve it. One hears from the kernel who waits for which page, and asks the source for it
//! ([`Fetcher::hear_faults`]); the other takes what comes, on one connection ([`Fetcher::take`]). When that breaks the guest
//! stands still, which is up to whoever looks at [`Fetcher::news`], until there is another.
//!
//! **Until the source has said `Go`** nothing of the guest is here: who waits for a page, as whoever makes the machine may,
//! is let go when the connection breaks, and finds zeros in a machine that never runs.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memory::{MissingPages, PAGE_SHIFT};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{SendFlags, send};

use crate::frame::{self, Body, FrameError, Kind};
use crate::missing;
use crate::packed::unpack;
use crate::page_server::{MOST_WANTED, Until};
use crate::sender::{BATCH, DATA, HOW, ZERO};

const PAGE: usize = 1 << PAGE_SHIFT;
/// A source that says nothing for so long while pages are missing has gone.
const SILENCE: Duration = Duration::from_secs(20);
/// Until a host that failed is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// One that reads nothing for so long likewise.
const UNREAD: Duration = Duration::from_secs(5);

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetching {
    /// The guest is the source's.
    Before,
    /// The guest is here, and pages come.
    Active,
    /// They do not: why.
    Paused(String),
    /// Nothing is missing.
    Completed,
    /// The guest never came: why.
    Failed(String),
}

#[derive(Debug)]
struct State {
    fetching: Fetching,
    /// The source has heard that the guest runs here.
    running: bool,
    /// Which connection it is.
    connection: u32,
    /// Pages that somebody waits for, and that have not come.
    wanted: BTreeSet<u64>,
    missing: Option<Arc<MissingPages>>,
}

/// Has the memory of one guest come.
#[derive(Debug)]
pub struct Fetcher {
    state: Mutex<State>,
    changed: Condvar,
    /// To the source; nothing once nothing is missing.
    line: Mutex<Option<UnixStream>>,
    news: OwnedFd,
    /// Readable once nobody is to wait for faults any more.
    over: OwnedFd,
}

/// One connection of a [`Fetcher`]'s, for the thread that takes what comes there.
#[derive(Debug)]
pub struct Connection {
    number: u32,
    stream: UnixStream,
}

impl Fetcher {
    /// # Errors
    /// When the host has no descriptor left.
    pub fn new(stream: UnixStream, missing: MissingPages) -> io::Result<Fetcher> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Fetcher {
            state: Mutex::new(State {
                fetching: Fetching::Before,
                running: false,
                connection: 0,
                wanted: BTreeSet::new(),
                missing: Some(Arc::new(missing)),
            }),
            changed: Condvar::new(),
            line: Mutex::new(Some(stream)),
            news: eventfd(0, flags)?,
            over: eventfd(0, flags)?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when it stands otherwise than before, until it is asked.
    #[must_use]
    pub fn news(&self) -> &OwnedFd {
        &self.news
    }

    /// How it stands, and how many pages are missing.
    #[must_use]
    pub fn fetching(&self) -> (Fetching, u64) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.news, &mut count);
        let state = self.lock();
        let missing = state.missing.as_deref();
        (
            state.fetching.clone(),
            missing.map_or(0, MissingPages::left),
        )
    }

    /// The connection that it began with, for [`Fetcher::take`].
    ///
    /// # Errors
    /// When the host has no descriptor left.
    pub fn first(&self) -> io::Result<Connection> {
        let line = self.line();
        let line = line.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Connection {
            number: 0,
            stream: line.try_clone()?,
        })
    }

    /// Another connection instead of the one there was. False where no page is missing.
    ///
    /// # Errors
    /// When the host has no descriptor left.
    pub fn go_on(&self, stream: UnixStream) -> io::Result<Option<Connection>> {
        let ours = stream.try_clone()?;
        let mut state = self.lock();
        if !matches!(state.fetching, Fetching::Active | Fetching::Paused(_)) {
            return Ok(None);
        }
        state.connection += 1;
        let number = state.connection;
        drop(state);
        if let Some(before) = self.line().replace(ours) {
            let _ = before.shutdown(std::net::Shutdown::Both);
        }
        Ok(Some(Connection { number, stream }))
    }

    /// Says a frame to the source.
    ///
    /// # Errors
    /// When it has gone, or does not read.
    pub fn say(&self, kind: Kind, body: &[u8]) -> Result<(), FrameError> {
        let line = self.line();
        let line = line.as_ref().ok_or(FrameError::Gone)?;
        frame::write(&mut Prompt::new(line), kind, body)
    }

    fn line(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once the guest is ours.
    ///
    /// # Errors
    /// When it is not.
    pub fn wait_for_go(&self) -> Result<(), FrameError> {
        let mut state = self.lock();
        while state.fetching == Fetching::Before {
            let changed = self.changed.wait(state);
            state = changed.unwrap_or_else(PoisonError::into_inner);
        }
        match &state.fetching {
            Fetching::Failed(why) => Err(FrameError::Failed(io::Error::other(why.clone()))),
            _ => Ok(()),
        }
    }

    /// The guest runs here: says so.
    pub fn running(&self) {
        // A source that does not hear it asks.
        let _ = self.say(Kind::Running, &[]);
        self.lock().running = true;
        self.look();
    }

    /// Nobody needs what is missing: the guest has ended.
    pub fn abandon(&self) {
        self.complete();
    }

    /// Hears who waits for which page, and asks for it, until nothing is missing.
    pub fn hear_faults(&self) {
        while let Err(error) = self.pass_faults() {
            let connection = self.lock().connection;
            self.broken(connection, &FrameError::Keep(error));
            // The host may have room again.
            std::thread::sleep(AGAIN);
        }
    }

    fn pass_faults(&self) -> io::Result<()> {
        loop {
            let Some(missing) = self.lock().missing.clone() else {
                return Ok(());
            };
            let wanted = missing.wanted()?;
            self.lock().wanted.extend(&wanted);
            // Whoever takes what comes notices when nothing does; it is asked for again then.
            let _ = self.ask_for(&wanted);
            let mut fds = [
                PollFd::new(&*missing, PollFlags::IN),
                PollFd::new(&self.over, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            if !fds[1].revents().is_empty() {
                return Ok(());
            }
        }
    }

    fn ask_for(&self, pages: &[u64]) -> Result<(), FrameError> {
        for some in pages.chunks(MOST_WANTED) {
            let body: Vec<u8> = some.iter().flat_map(|page| page.to_le_bytes()).collect();
            self.say(Kind::Wanted, &body)?;
        }
        Ok(())
    }

    /// Takes what comes on a connection, until nothing is missing or it breaks.
    pub fn take(&self, connection: &Connection) {
        let ended = match connection.number {
            0 => self.take_frames(connection),
            _ => self.tell_anew().and_then(|()| self.take_frames(connection)),
        };
        if let Err(error) = ended {
            self.broken(connection.number, &error);
        }
    }

    /// What the source of a new connection has to know.
    fn tell_anew(&self) -> Result<(), FrameError> {
        let Some(here) = self.lock().missing.clone() else {
            return Ok(());
        };
        let missing = here.pages();
        let (wanted, given_back): (Vec<u64>, Vec<u64>) = {
            let wanted = std::mem::take(&mut self.lock().wanted);
            wanted.into_iter().partition(|page| missing.contains(*page))
        };
        for page in given_back {
            // Whoever waited for it hears of that.
            here.put(page, None).map_err(FrameError::Keep)?;
        }
        self.lock().wanted.extend(&wanted);
        {
            let line = self.line();
            let line = line.as_ref().ok_or(FrameError::Gone)?;
            missing::say(&mut Prompt::new(line), &missing)?;
        }
        self.ask_for(&wanted)?;
        self.say(Kind::Running, &[])?;
        let mut state = self.lock();
        state.running = true;
        if state.fetching != Fetching::Completed {
            state.fetching = Fetching::Active;
        }
        drop(state);
        self.tell();
        self.look();
        Ok(())
    }

    fn take_frames(&self, connection: &Connection) -> Result<(), FrameError> {
        let mut body = Vec::new();
        let mut room = Vec::new();
        loop {
            let (begun, missing) = {
                let state = self.lock();
                (state.fetching != Fetching::Before, state.missing.clone())
            };
            let Some(missing) = missing else {
                return Ok(());
            };
            let patience = begun.then_some(SILENCE);
            let mut from = Patient(&connection.stream, patience);
            match frame::read(&mut from, &mut body)? {
                Kind::Pages => {
                    for (page, at) in late_pages(&body, missing.all(), &mut room)? {
                        let bytes = at.and_then(|at| room[at..].first_chunk::<PAGE>());
                        missing.put(page, bytes).map_err(FrameError::Keep)?;
                        self.lock().wanted.remove(&page);
                    }
                    let said = self.say(Kind::Taken, &[]);
                    // Whoever has all of it needs no connection.
                    self.look();
                    said?;
                }
                Kind::Go if !begun => {
                    self.lock().fetching = Fetching::Active;
                    self.tell();
                }
                _ => return Err(FrameError::Nonsense("a frame that is for another time")),
            }
        }
    }

    /// Is anything missing still?
    fn look(&self) {
        let state = self.lock();
        let missing = state.missing.as_deref();
        if state.running && missing.is_some_and(|missing| missing.left() == 0) {
            drop(state);
            self.complete();
        }
    }

    fn complete(&self) {
        let _ = self.say(Kind::Complete, &[]);
        self.end(Fetching::Completed);
    }

    fn broken(&self, connection: u32, error: &FrameError) {
        let why = chain(error);
        let mut state = self.lock();
        if state.connection != connection {
            return;
        }
        match state.fetching {
            Fetching::Before => {
                drop(state);
                self.end(Fetching::Failed(why));
            }
            Fetching::Active => {
                state.fetching = Fetching::Paused(why);
                drop(state);
                self.tell();
            }
            _ => {}
        }
    }

    /// Nobody waits for a page any more.
    fn end(&self, how: Fetching) {
        let mut state = self.lock();
        state.fetching = how;
        state.missing = None;
        drop(state);
        *self.line() = None;
        let _ = rustix::io::write(&self.over, &1u64.to_ne_bytes());
        self.tell();
    }

    fn tell(&self) {
        let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes());
        self.changed.notify_all();
    }
}

/// What a frame of late pages has: each page, and where in `room` its bytes are if it is not zeros.
///
/// # Errors
/// When it is no such frame, or of pages beyond `all`.
pub fn late_pages(
    body: &[u8],
    all: u64,
    room: &mut Vec<u8>,
) -> Result<Vec<(u64, Option<usize>)>, FrameError> {
    let mut body = Body(body);
    let count = body.u32()? as usize;
    if count > BATCH {
        return Err(FrameError::Nonsense("too many pages in one frame"));
    }
    let mut pages = Vec::with_capacity(count);
    let mut end = 0;
    for _ in 0..count {
        let word = body.u64()?;
        let (how, page) = (word >> HOW, word & !(3 << HOW));
        if page >= all {
            return Err(FrameError::Nonsense("a page beyond the guest's memory"));
        }
        let at = match how {
            ZERO => None,
            DATA => Some(end),
            // What another page is has changed meanwhile.
            _ => return Err(FrameError::Nonsense("a page is sent in an unknown way")),
        };
        end += if at.is_some() { PAGE } else { 0 };
        pages.push((page, at));
    }
    room.resize(end, 0);
    match (end, body.0) {
        (0, []) => {}
        (1.., _) => unpack(body, room)?,
        _ => {
            return Err(FrameError::Nonsense(
                "a frame has not the data of its pages",
            ));
        }
    }
    Ok(pages)
}

/// Reads as long as something comes.
struct Patient<'a>(&'a UnixStream, Option<Duration>);

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.0;
        match self.1 {
            Some(patience) => Until(stream, Instant::now() + patience).read(into),
            None => stream.read(into),
        }
    }
}

/// Writes what is short, to somebody who reads: nobody who waits for a page waits for others.
struct Prompt<'a> {
    stream: &'a UnixStream,
    until: Instant,
}

impl Prompt<'_> {
    fn new(stream: &UnixStream) -> Prompt<'_> {
        Prompt {
            stream,
            until: Instant::now() + UNREAD,
        }
    }
}

impl Write for Prompt<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(self.stream, bytes, flags) {
                Err(rustix::io::Errno::AGAIN) => {}
                sent => return Ok(sent?),
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut fds = [PollFd::new(self.stream, PollFlags::OUT)];
            let time = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            // Sending says what is wrong.
            let _ = poll(&mut fds, Some(&time));
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn chain(error: &FrameError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
