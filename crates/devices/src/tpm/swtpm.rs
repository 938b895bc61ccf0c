//! The other end of swtpm's sockets: one for a TPM's commands as they are, one to control it.
//! Spec: `swtpm_ioctls(3)`, "CONTROL CHANNEL COMMANDS"; `swtpm(8)`.
//!
//! It is a process like any other that may have died, hang or lie: each wait ends, each length is looked at
//! before there is memory for it. swtpm does one thing at a time, on whichever socket; so once it has answered
//! on the control socket, what waits on the other one is old.
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

/// For a command. The longest make keys, on hosts with much to do.
const LONGEST: Duration = Duration::from_secs(120);
/// For what swtpm does by itself; behind a command that is under way.
const CONTROL: Duration = Duration::from_secs(15);
/// For a TPM that is about to lose its power.
const FAREWELL: Duration = Duration::from_secs(2);

const INIT: u32 = 2;
const GET_STATE: u32 = 12;
const SET_STATE: u32 = 13;
const STOP: u32 = 14;

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
    /// The code of the last command.
    last: u32,
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
            last: 0,
        }
    }

    /// One that ends without a shutdown takes that for an attack, at some time.
    fn shut_down(&mut self) {
        if self.running && !self.owes && self.last != SHUTDOWN {
            let until = Instant::now() + FAREWELL;
            let _ = self.transact(&SHUTDOWN_CLEAR, until, None);
        }
        self.running = false;
    }

    fn start(&mut self, flags: u32) -> Result<(), TpmError> {
        self.control(INIT, &[flags.to_be_bytes().as_slice()])?;
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
        write(&self.data, command, until)?;
        self.owes = true;
        self.answer(until, hurry)
    }

    fn answer(&mut self, until: Instant, hurry: Option<&Doorbell>) -> Result<Vec<u8>, TpmError> {
        // One that has begun is read to its end, or there is no telling the next one.
        let mut header = [0; HEADER];
        let (first, rest) = header.split_at_mut(1);
        read(&self.data, first, until, hurry)?;
        self.data_lost = true;
        read(&self.data, rest, until, None)?;
        let length = length(header).ok_or(TpmError::Nonsense)?;
        let mut answer = header.to_vec();
        answer.resize(length, 0);
        read(&self.data, &mut answer[HEADER..], until, None)?;
        (self.data_lost, self.owes) = (false, false);
        Ok(answer)
    }

    /// Has it do `command`, which says no more than that it was done.
    fn control(&mut self, command: u32, parts: &[&[u8]]) -> Result<(), TpmError> {
        let until = Instant::now() + CONTROL;
        self.ask(command, parts, until)?;
        self.result(command, until)
    }

    fn ask(&mut self, command: u32, parts: &[&[u8]], until: Instant) -> Result<(), TpmError> {
        if std::mem::replace(&mut self.control_lost, true) {
            return Err(TpmError::Nonsense);
        }
        let mut request = command.to_be_bytes().to_vec();
        request.extend(parts.iter().copied().flatten());
        write(&self.control, &request, until)
    }

    fn result(&mut self, command: u32, until: Instant) -> Result<(), TpmError> {
        let [code] = self.numbers(until)?;
        self.control_lost = false;
        match code {
            0 => Ok(()),
            code => Err(TpmError::Refused { command, code }),
        }
    }

    fn numbers<const N: usize>(&self, until: Instant) -> Result<[u32; N], TpmError> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let mut bytes = [0; 4];
            read(&self.control, &mut bytes, until, None)?;
            *number = u32::from_be_bytes(bytes);
        }
        Ok(numbers)
    }

    fn get(&mut self, kind: u32) -> Result<Vec<u8>, TpmError> {
        let until = Instant::now() + CONTROL;
        let mut found = Vec::new();
        loop {
            // Bounded below.
            let words = [DECRYPTED, kind, found.len() as u32].map(u32::to_be_bytes);
            self.ask(GET_STATE, &[words.as_flattened()], until)?;
            let [code, _, total, length] = self.numbers(until)?;
            let (total, length) = (total as usize, length as usize);
            let wanted = total.checked_sub(found.len()).ok_or(TpmError::Nonsense)?;
            if !Blobs::has_room(total) || length > wanted || (length == 0 && wanted > 0) {
                return Err(TpmError::Nonsense);
            }
            let begin = found.len();
            found.resize(begin + length, 0);
            read(&self.control, &mut found[begin..], until, None)?;
            self.control_lost = false;
            if code != 0 {
                let command = GET_STATE;
                return Err(TpmError::Refused { command, code });
            }
            if found.len() == total {
                return Ok(found);
            }
        }
    }

    fn set(&mut self, kind: u32, blob: &[u8]) -> Result<(), TpmError> {
        let words = [DECRYPTED, kind, blob.len() as u32].map(u32::to_be_bytes);
        self.control(SET_STATE, &[words.as_flattened(), blob])
    }
}

impl Backend for Swtpm {
    fn power_on(&mut self) -> Result<(), TpmError> {
        self.shut_down();
        self.start(0)
    }

    fn execute(&mut self, command: &[u8], hurry: &Doorbell) -> Result<Vec<u8>, TpmError> {
        self.transact(command, Instant::now() + LONGEST, Some(hurry))
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

/// Waits until `fd` is ready.
fn wait(
    fd: &OwnedFd,
    flags: PollFlags,
    until: Instant,
    hurry: Option<&Doorbell>,
) -> Result<(), TpmError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(TpmError::Late);
    }
    // At most minutes.
    let left = Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut fds = vec![PollFd::new(fd, flags)];
    if let Some(hurry) = hurry {
        fds.push(PollFd::from_borrowed_fd(hurry.as_fd(), PollFlags::IN));
    }
    match poll(&mut fds, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => return Err(TpmError::Gone),
    }
    let hurried = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
    // An answer that is there is taken.
    if hurried && fds[0].revents().is_empty() {
        return Err(TpmError::Interrupted);
    }
    Ok(())
}

fn read(
    fd: &OwnedFd,
    mut into: &mut [u8],
    until: Instant,
    hurry: Option<&Doorbell>,
) -> Result<(), TpmError> {
    while !into.is_empty() {
        match recv(fd, &mut *into, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(TpmError::Gone),
            Ok((count, _)) => into = &mut into[count..],
            Err(Errno::AGAIN) => wait(fd, PollFlags::IN, until, hurry)?,
            Err(Errno::INTR) => {}
            Err(_) => return Err(TpmError::Gone),
        }
    }
    Ok(())
}

fn write(fd: &OwnedFd, mut bytes: &[u8], until: Instant) -> Result<(), TpmError> {
    while !bytes.is_empty() {
        match send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::AGAIN) => wait(fd, PollFlags::OUT, until, None)?,
            Err(Errno::INTR) => {}
            Err(_) => return Err(TpmError::Gone),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
