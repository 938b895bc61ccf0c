//! One connection: the guest's TCP ends here, and a socket of the host goes on from here.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt;

use crate::user::plan::Pair;
use crate::user::tcp::receiver::Receiver;
use crate::user::tcp::segment::{ACK, RST, SYN, Segment};
use crate::user::tcp::sender::{News, Sender};

/// Before something is sent again for the first time. The guest is near, but may be slow.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often an opening, and everything else, is sent again.
const OPENING_TRIES: u8 = 7;
const TRIES: u8 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The guest called; the host's socket is on its way.
    Connecting,
    /// The guest called, and was told that the other end is there.
    Answered,
    /// Somebody called the guest.
    Calling,
    Open,
    /// The guest is to be told that the connection broke.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// There is nothing left to do.
    Ends,
}

#[derive(Debug)]
pub(in crate::user) struct Flow {
    pub(super) ends: Pair,
    socket: OwnedFd,
    pub(super) phase: Phase,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// Bytes that may wait in each direction.
    limit: usize,
    /// Has the host's socket something to read, as far as we know?
    readable: bool,
    pub(super) syn_due: bool,
    pub(super) ack_due: bool,
    pub(super) probe_due: bool,
    deadline: Option<Instant>,
    tries: u8,
    pub(super) queued: bool,
    pub(super) used: Instant,
}

impl Flow {
    /// `sequence` is where our numbers begin.
    pub(super) fn new(
        ends: Pair,
        socket: OwnedFd,
        sequence: u32,
        limit: usize,
        now: Instant,
    ) -> Flow {
        Flow {
            ends,
            socket,
            phase: Phase::Connecting,
            sender: Sender::new(sequence.wrapping_add(1)),
            receiver: Receiver::new(limit),
            limit,
            readable: false,
            syn_due: false,
            ack_due: false,
            probe_due: false,
            deadline: None,
            tries: 0,
            queued: false,
            used: now,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The guest's opening.
    pub(super) fn meet(&mut self, syn: &Segment<'_>) {
        self.sender.meet(syn);
        self.receiver.meet(syn);
    }

    /// Somebody has called the guest.
    pub(super) fn call(&mut self, now: Instant) {
        self.phase = Phase::Calling;
        self.syn_due = true;
        self.deadline = Some(now + FIRST_WAIT);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A segment of the guest has come.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, now: Instant) -> Fate {
        self.used = now;
        match self.phase {
            Phase::Connecting if segment.has(RST) => return Fate::Ends,
            Phase::Connecting | Phase::Broken => return Fate::Stays,
            Phase::Calling => return self.answer_to_call(segment, now),
            Phase::Answered | Phase::Open => {}
        }
        if segment.has(RST) {
            let at = segment.sequence.wrapping_sub(self.receiver.next());
            // Elsewhere it may be a forgery, or an old one. Spec: RFC 5961.
            let close = usize::try_from(at).is_ok_and(|at| at <= self.limit);
            return if close { self.abort() } else { Fate::Stays };
        }
        if segment.has(SYN) {
            self.syn_due = self.phase == Phase::Answered;
            self.ack_due = true;
            return Fate::Stays;
        }
        if !segment.has(ACK) {
            return Fate::Stays;
        }
        if self.phase == Phase::Answered && segment.acknowledged == self.sender.base() {
            self.phase = Phase::Open;
            self.syn_due = false;
            self.settle(now);
        }
        match self.sender.acknowledge(segment) {
            News::Progress => self.settle(now),
            News::Nothing => {}
            News::Impossible => {
                self.ack_due = true;
                return Fate::Stays;
            }
        }
        if self.phase != Phase::Open {
            return Fate::Stays;
        }
        match self.receiver.take(segment, &self.socket) {
            Ok(acknowledge) => self.ack_due |= acknowledge,
            Err(_) => self.phase = Phase::Broken,
        }
        self.fate()
    }

    fn answer_to_call(&mut self, segment: &Segment<'_>, now: Instant) -> Fate {
        let is_answer = segment.has(ACK) && segment.acknowledged == self.sender.base();
        if !is_answer {
            return Fate::Stays;
        }
        if segment.has(RST) {
            return self.abort();
        }
        if segment.has(SYN) {
            self.meet(segment);
            self.phase = Phase::Open;
            self.syn_due = false;
            self.ack_due = true;
            self.settle(now);
        }
        Fate::Stays
    }

    /// The host's socket has changed. Answers an error of the network that the guest should hear of.
    pub(super) fn socket_changed(
        &mut self,
        readable: bool,
        writable: bool,
        now: Instant,
    ) -> Option<Errno> {
        self.readable |= readable;
        if self.phase == Phase::Connecting && (writable || readable) {
            match sockopt::socket_error(&self.socket) {
                Ok(Ok(())) if writable => {
                    self.phase = Phase::Answered;
                    self.syn_due = true;
                    self.deadline = Some(now + FIRST_WAIT);
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) | Err(error) => {
                    self.phase = Phase::Broken;
                    return Some(error);
                }
            }
        } else if writable && self.phase == Phase::Open {
            if self.receiver.flush(&self.socket).is_err() {
                self.phase = Phase::Broken;
            }
            self.ack_due |= self.receiver.window_opened();
        }
        None
    }

    /// Reads as much from the host as may wait here.
    pub(super) fn refill(&mut self) {
        while self.readable && !self.sender.has_ended() && self.phase == Phase::Open {
            let socket = &self.socket;
            let read = |parts: &mut [IoSliceMut<'_>]| rustix::io::readv(socket, parts);
            let room = self.limit - self.sender.buffer.len().min(self.limit);
            match self.sender.buffer.fill(self.limit, read) {
                None => break,
                Some(Ok(0)) => {
                    self.readable = false;
                    self.sender.end();
                }
                // Less than there was room for: it was the last, and a new edge will tell of more.
                Some(Ok(got)) => {
                    if got >= room || self.sender.unsent() > usize::from(u16::MAX) {
                        break;
                    }
                }
                Some(Err(Errno::AGAIN)) => self.readable = false,
                Some(Err(Errno::INTR)) => {}
                Some(Err(_)) => {
                    self.readable = false;
                    self.phase = Phase::Broken;
                }
            }
        }
    }

    /// What was not acknowledged in time goes again.
    pub(super) fn late(&mut self, now: Instant) -> Fate {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Fate::Stays;
        }
        self.tries = self.tries.saturating_add(1);
        self.deadline = Some(now + wait(self.tries));
        match self.phase {
            Phase::Answered | Phase::Calling if self.tries > OPENING_TRIES => return self.abort(),
            Phase::Answered | Phase::Calling => self.syn_due = true,
            Phase::Open if self.sender.is_shut_out() => {
                // For as long as the guest answers, which it does by keeping its window shut.
                self.probe_due = true;
                self.sender.rewind();
            }
            Phase::Open if self.tries > TRIES => self.phase = Phase::Broken,
            Phase::Open => self.sender.rewind(),
            Phase::Connecting | Phase::Broken => self.deadline = None,
        }
        Fate::Stays
    }

    /// Watches what is under way from now on.
    pub(super) fn settle(&mut self, now: Instant) {
        self.tries = 0;
        self.deadline = self.sender.waits().then(|| now + FIRST_WAIT);
    }

    /// Something was sent that has to be acknowledged.
    pub(super) fn watch(&mut self, now: Instant) {
        self.deadline.get_or_insert(now + wait(self.tries));
    }

    pub(super) fn fate(&self) -> Fate {
        let done = self.sender.is_done() && self.receiver.is_done() && !self.ack_due;
        if done { Fate::Ends } else { Fate::Stays }
    }

    /// The other end sees the connection break, not end.
    pub(super) fn abort(&self) -> Fate {
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        Fate::Ends
    }
}

fn wait(tries: u8) -> Duration {
    let factor = 1u32.checked_shl(tries.into()).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}
