//! The direction from the guest: bytes go to the host's socket, and wait in a bounded buffer while
//! that takes none. Spec: RFC 9293, "SEGMENT ARRIVES", "Managing the Window".

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use crate::user::ring::ByteRing;
use crate::user::tcp::segment::{FIN, Segment};

/// Of the windows that we tell. Spec: RFC 7323.
pub(super) const SCALE: u8 = 7;

#[derive(Debug)]
pub(super) struct Receiver {
    /// The sequence number that comes next.
    next: u32,
    /// The end of what the guest may send.
    edge: u32,
    scale: u8,
    /// For the host's socket.
    waiting: ByteRing,
    limit: usize,
    /// The guest has said all; the host's socket knows.
    ended: bool,
    told: bool,
}

impl Receiver {
    pub(super) fn new(limit: usize) -> Receiver {
        Receiver {
            next: 0,
            edge: 0,
            scale: 0,
            waiting: ByteRing::default(),
            limit,
            ended: false,
            told: false,
        }
    }

    /// What the guest's SYN says.
    pub(super) fn meet(&mut self, syn: &Segment<'_>) {
        self.next = syn.sequence.wrapping_add(1);
        self.edge = self.next;
        self.scale = if syn.scale().is_some() { SCALE } else { 0 };
    }

    pub(super) fn next(&self) -> u32 {
        self.next
    }

    pub(super) fn scales(&self) -> bool {
        self.scale > 0
    }

    pub(super) fn is_done(&self) -> bool {
        self.told
    }

    fn free(&self) -> u32 {
        u32::try_from(self.limit.saturating_sub(self.waiting.len())).unwrap_or(0)
    }

    /// Has much more room come than the guest knows of?
    pub(super) fn window_opened(&self) -> bool {
        let known = self.edge.wrapping_sub(self.next);
        let half = u32::try_from(self.limit / 2).unwrap_or(0);
        known < half && self.free() >= half
    }

    /// The window to tell, as it stands in a header. A SYN's is not scaled.
    pub(super) fn window(&mut self, syn: bool) -> u16 {
        let free = self.free();
        // An edge once told never comes nearer.
        if free > self.edge.wrapping_sub(self.next) {
            self.edge = self.next.wrapping_add(free);
        }
        let scale = if syn { 0 } else { self.scale };
        let window = self.edge.wrapping_sub(self.next) >> scale;
        u16::try_from(window).unwrap_or(u16::MAX)
    }

    /// Takes what is new in a segment. Answers whether it has to be acknowledged.
    ///
    /// # Errors
    /// When the host's socket is broken.
    pub(super) fn take(&mut self, segment: &Segment<'_>, socket: &OwnedFd) -> Result<bool, Errno> {
        if segment.len() == 0 {
            // A bare acknowledgement; or a question whether we live.
            return Ok(segment.sequence != self.next);
        }
        let known = self.next.wrapping_sub(segment.sequence);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        // Something before it is missing, or it is all known.
        if self.ended || known > segment.data.len() {
            return Ok(true);
        }
        let new = &segment.data[known..];
        let room = usize::try_from(self.edge.wrapping_sub(self.next)).unwrap_or(0);
        let new = &new[..new.len().min(room)];
        let whole = known + new.len() == segment.data.len();
        let sent = if self.waiting.is_empty() {
            put(socket, new)?
        } else {
            0
        };
        let kept = self.waiting.push(&new[sent..], self.limit);
        let taken = u32::try_from(sent + kept).unwrap_or(0);
        self.next = self.next.wrapping_add(taken);
        if whole && sent + kept == new.len() && segment.has(FIN) {
            self.next = self.next.wrapping_add(1);
            self.ended = true;
            self.tell_end(socket);
        }
        Ok(true)
    }

    /// The host's socket takes data again.
    ///
    /// # Errors
    /// When it is broken.
    pub(super) fn flush(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        while !self.waiting.is_empty() {
            let [first, _] = self.waiting.slices(0, self.waiting.len());
            let sent = put(socket, first)?;
            if sent == 0 {
                return Ok(());
            }
            self.waiting.consume(sent);
        }
        self.waiting.rest();
        self.tell_end(socket);
        Ok(())
    }

    fn tell_end(&mut self, socket: &OwnedFd) {
        if self.ended && !self.told && self.waiting.is_empty() {
            self.told = true;
            // A socket that is gone needs not be told.
            let _ = shutdown(socket, Shutdown::Write);
        }
    }
}

/// Answers how many bytes the socket took.
fn put(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match send(
            socket,
            &bytes[done..],
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        ) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(sent) => done += sent,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
