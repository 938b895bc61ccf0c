//! The other end of swtpm's sockets: one for a TPM's commands as they are, one to control it.
//! Spec: `swtpm_ioctls(3)`, "CONTROL CHANNEL COMMANDS"; `swtpm(8)`.
//!
//! It is a process like any other that may have died, hang or lie: each wait ends, each length is looked at
//! before there is memory for it. swtpm does one thing at a time, on whichever socket; so once it has answered
//! on the control socket, what waits on the other one is old. An answer that comes too late is owed: it is read
//! off before the next request, on either socket.
//!
//! At the end the TPM is stopped rather than swtpm told to end: another machine of the same process may go on
//! with it, and it ends anyhow when nobody has its sockets any more.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::backend::{Backend, Blobs, HEADER, SHUTDOWN, SHUTDOWN_CLEAR, TpmError, code, length};
use crate::virtio::Doorbell;

/// How long it waits.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For a command. The longest make keys, on hosts with much to do.
    command: Duration,
    /// For what swtpm does by itself; behind a command that is under way.
    control: Duration,
    /// For a TPM that is about to lose its power.
    farewell: Duration,
    /// For the rest of an answer that has begun, once somebody is in a hurry.
    hurried: Duration,
}

const PATIENCE: Patience = Patience {
    command: Duration::from_secs(120),
    control: Duration::from_secs(15),
    farewell: Duration::from_secs(2),
    hurried: Duration::from_secs(2),
};

const INIT: u32 = 2;
const GET_STATE: u32 = 12;
const SET_STATE: u32 = 13;
const STOP: u32 = 14;
/// Bytes before a piece of a state: a code, flags, how long all of it is, how long the piece is.
const STATE_HEADER: usize = 16;

const PERMANENT: u32 = 1;
const VOLATILE: u32 = 2;
/// In the clear: as a request, and what is given.
const DECRYPTED: u32 = 1;
/// The volatile state is taken once, and does not come back at the next power-on.
const DELETE_VOLATILE: u32 = 1;

/// A TPM in a process of its own.
#[derive(Debug)]
pub struct Swtpm {
    data: OwnedFd,
    control: OwnedFd,
    /// It has power.
    running: bool,
    /// It has not answered a command yet that nobody waits for any more.
    owes: bool,
    /// It said on this socket what makes no sense.
    data_lost: bool,
    control_lost: bool,
    /// What was begun on the control socket and has no whole answer yet.
    control_owes: Option<Request>,
    /// The code of the last command.
    last: u32,
    patience: Patience,
}

/// One on the control socket.
#[derive(Debug)]
struct Request {
    command: u32,
    unsent: Vec<u8>,
    /// What has come of it.
    answer: Vec<u8>,
}

impl Swtpm {
    /// Its sockets, of whichever state.
    #[must_use]
    pub fn new(data: OwnedFd, control: OwnedFd) -> Swtpm {
        Swtpm {
            data,
            control,
            running: false,
            owes: false,
            data_lost: false,
            control_lost: false,
            control_owes: None,
            last: 0,
            patience: PATIENCE,
        }
    }

    /// As [`Backend::power_on`], for a machine that begins: swtpm may still be at a command of the one before it,
    /// and is waited for as long as any may take.
    ///
    /// # Errors
    /// When there is no TPM then.
    pub fn begin(&mut self) -> Result<(), TpmError> {
        let control = std::mem::replace(&mut self.patience.control, self.patience.command);
        let begun = self.start(0);
        self.patience.control = control;
        begun
    }

    /// One that ends without a shutdown takes that for an attack, at some time.
    fn shut_down(&mut self) {
        if self.running && !self.owes && self.last != SHUTDOWN {
            let until = Instant::now() + self.patience.farewell;
            let _ = self.transact(&SHUTDOWN_CLEAR, until, None);
        }
        self.running = false;
    }

    fn start(&mut self, flags: u32) -> Result<(), TpmError> {
        self.control(INIT, &flags.to_be_bytes())?;
        self.drain();
        (self.running, self.owes, self.data_lost, self.last) = (true, false, false, 0);
        Ok(())
    }

    /// Throws away what waits on the data socket.
    fn drain(&self) {
        let mut bytes = [0; 4096];
        // No more than it can have been asked for in its life.
        for _ in 0..16 {
            match recv(&self.data, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((1.., _)) => {}
                _ => break,
            }
        }
    }

    fn transact(
        &mut self,
        command: &[u8],
        until: Instant,
        hurry: Option<&Doorbell>,
    ) -> Result<Vec<u8>, TpmError> {
        if self.data_lost {
            return Err(TpmError::Nonsense);
        }
        if self.owes {
            self.answer(until, hurry)?;
        }
        self.last = code(command).unwrap_or(0);
        write(&self.data, &mut command.to_vec(), &mut Wait::until(until))?;
        self.owes = true;
        self.answer(until, hurry)
    }

    fn answer(&mut self, until: Instant, hurry: Option<&Doorbell>) -> Result<Vec<u8>, TpmError> {
        let mut answer = Vec::new();
        let mut wait = Wait {
            until,
            hurry,
            hurried: None,
        };
        read(&self.data, &mut answer, 1, &mut wait)?;
        // One that has begun is read to its end, or there is no telling the next one.
        self.data_lost = true;
        wait.hurried = Some(self.patience.hurried);
        read(&self.data, &mut answer, HEADER, &mut wait)?;
        let header = answer.first_chunk::<HEADER>().copied();
        let length = header.and_then(length).ok_or(TpmError::Nonsense)?;
        read(&self.data, &mut answer, length, &mut wait)?;
        (self.data_lost, self.owes) = (false, false);
        Ok(answer)
    }

    /// Has it do `command`, which says no more than that it was done.
    fn control(&mut self, command: u32, words: &[u8]) -> Result<(), TpmError> {
        self.ask(command, words).map(drop)
    }

    /// What it answers to `command`, without a code.
    fn ask(&mut self, command: u32, words: &[u8]) -> Result<Vec<u8>, TpmError> {
        let until = Instant::now() + self.patience.control;
        // Nobody asks any more what came of that one.
        self.finish(until)?;
        self.control_owes = Some(Request {
            command,
            unsent: [&command.to_be_bytes(), words].concat(),
            answer: Vec::new(),
        });
        let mut answer = self.finish(until)?;
        let rest = answer.split_off(size_of::<u32>());
        match number(&answer, 0) {
            Some(0) => Ok(rest),
            Some(code) => Err(TpmError::Refused { command, code }),
            None => Err(TpmError::Nonsense),
        }
    }

    /// The whole answer to what is under way on the control socket, where something is.
    fn finish(&mut self, until: Instant) -> Result<Vec<u8>, TpmError> {
        if self.control_lost {
            return Err(TpmError::Nonsense);
        }
        let Some(request) = &mut self.control_owes else {
            return Ok(Vec::new());
        };
        match request.go_on(&self.control, until) {
            Ok(()) => {
                let request = self.control_owes.take();
                Ok(request.map(|it| it.answer).unwrap_or_default())
            }
            Err(error) => {
                self.control_lost = error == TpmError::Nonsense;
                Err(error)
            }
        }
    }

    fn get(&mut self, kind: u32) -> Result<Vec<u8>, TpmError> {
        let mut found = Vec::new();
        loop {
            // Bounded below.
            let words = [DECRYPTED, kind, found.len() as u32].map(u32::to_be_bytes);
            let answer = self.ask(GET_STATE, words.as_flattened())?;
            let total = number(&answer, 1).ok_or(TpmError::Nonsense)? as usize;
            let piece = answer.get(STATE_HEADER - 4..).unwrap_or_default();
            let wanted = total.checked_sub(found.len());
            if wanted.is_none_or(|wanted| piece.len() > wanted || (piece.is_empty() && wanted > 0))
            {
                self.control_lost = true;
                return Err(TpmError::Nonsense);
            }
            found.extend_from_slice(piece);
            if found.len() == total {
                return Ok(found);
            }
        }
    }

    fn set(&mut self, kind: u32, blob: &[u8]) -> Result<(), TpmError> {
        let words = [DECRYPTED, kind, blob.len() as u32].map(u32::to_be_bytes);
        self.control(SET_STATE, &[words.as_flattened(), blob].concat())
    }
}

impl Request {
    /// To its end, from wherever it is.
    fn go_on(&mut self, control: &OwnedFd, until: Instant) -> Result<(), TpmError> {
        let wait = &mut Wait::until(until);
        write(control, &mut self.unsent, wait)?;
        if self.command != GET_STATE {
            return read(control, &mut self.answer, size_of::<u32>(), wait);
        }
        read(control, &mut self.answer, STATE_HEADER, wait)?;
        let [total, length] = [2, 3].map(|index| number(&self.answer, index).unwrap_or(0) as usize);
        if !Blobs::has_room(total) || length > total {
            return Err(TpmError::Nonsense);
        }
        read(control, &mut self.answer, STATE_HEADER + length, wait)
    }
}

impl Backend for Swtpm {
    fn power_on(&mut self) -> Result<(), TpmError> {
        self.shut_down();
        self.start(0)
    }

    fn execute(&mut self, command: &[u8], hurry: &Doorbell) -> Result<Vec<u8>, TpmError> {
        if !self.running {
            // It may still be what it was before its power was to go off.
            return Err(TpmError::Gone);
        }
        self.transact(command, Instant::now() + self.patience.command, Some(hurry))
    }

    fn save(&mut self) -> Result<Blobs, TpmError> {
        Ok(Blobs {
            permanent: self.get(PERMANENT)?,
            volatile: self.get(VOLATILE)?,
        })
    }

    fn restore(&mut self, blobs: &Blobs) -> Result<(), TpmError> {
        self.running = false;
        self.control(STOP, &[])?;
        self.set(PERMANENT, &blobs.permanent)?;
        self.set(VOLATILE, &blobs.volatile)?;
        self.start(DELETE_VOLATILE)
    }

    fn power_off(&mut self) {
        self.shut_down();
        // One that still works at a command is as good as stopped, once it sees that nobody is there.
        if !self.owes {
            let _ = self.control(STOP, &[]);
        }
    }
}

/// How somebody waits.
struct Wait<'a> {
    until: Instant,
    /// Whose ringing ends it.
    hurry: Option<&'a Doorbell>,
    /// So long after it.
    hurried: Option<Duration>,
}

impl Wait<'_> {
    fn until(until: Instant) -> Self {
        Self {
            until,
            hurry: None,
            hurried: None,
        }
    }

    /// Until `fd` is ready, or there is reason to look.
    fn ready(&mut self, fd: &OwnedFd, flags: PollFlags) -> Result<(), TpmError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TpmError::Late);
        }
        // At most minutes.
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(fd, flags)];
        if let Some(hurry) = self.hurry {
            fds.push(PollFd::from_borrowed_fd(hurry.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(TpmError::Gone),
        }
        if fds.get(1).is_none_or(|fd| fd.revents().is_empty()) {
            return Ok(());
        }
        if let Some(left) = self.hurried {
            self.until = self.until.min(Instant::now() + left);
            self.hurry = None;
        } else if fds[0].revents().is_empty() {
            // An answer that is there is taken.
            return Err(TpmError::Interrupted);
        }
        Ok(())
    }
}

/// Reads on until `into` has `length` bytes. What has come is there after an error too.
fn read(
    fd: &OwnedFd,
    into: &mut Vec<u8>,
    length: usize,
    wait: &mut Wait<'_>,
) -> Result<(), TpmError> {
    while into.len() < length {
        let begin = into.len();
        into.resize(length, 0);
        let came = recv(fd, &mut into[begin..], RecvFlags::DONTWAIT);
        into.truncate(begin + came.as_ref().map_or(0, |(count, _)| *count));
        match came {
            Ok((0, _)) => return Err(TpmError::Gone),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait.ready(fd, PollFlags::IN)?,
            Err(_) => return Err(TpmError::Gone),
        }
    }
    Ok(())
}

/// Sends `bytes`, of which those are left that did not go.
fn write(fd: &OwnedFd, bytes: &mut Vec<u8>, wait: &mut Wait<'_>) -> Result<(), TpmError> {
    while !bytes.is_empty() {
        match send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => drop(bytes.drain(..count)),
            Err(Errno::AGAIN) => wait.ready(fd, PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            Err(_) => return Err(TpmError::Gone),
        }
    }
    Ok(())
}

/// The one of that index, of 32 bits each.
fn number(bytes: &[u8], index: usize) -> Option<u32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.get(index).map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
