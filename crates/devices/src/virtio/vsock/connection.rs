//! One connection: what its two sides may still send, and what is on the way.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use crate::virtio::vsock::packet::{Header, MOST_DATA, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, op};

/// The window that the guest has for what the host has not taken.
pub(super) const WINDOW: u32 = 64 << 10;
/// The guest hears of room in its window in such portions at least.
const PORTION: u32 = WINDOW / 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The host was asked for a socket.
    AsksHost,
    /// The guest was, or is about to be, asked whether it accepts.
    AsksGuest,
    Open,
}

/// The packets that the guest is to get, once each.
#[derive(Debug, Default, Clone, Copy)]
struct Owed {
    request: bool,
    response: bool,
    credit_update: bool,
    credit_request: bool,
    /// Flags of a SHUTDOWN.
    shutdown: u32,
}

/// What became of a connection in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    GoesOn,
    /// The guest is to get a RST, and it is over.
    Reset,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) host_port: u32,
    pub(super) guest_port: u32,
    pub(super) stage: Stage,
    pub(super) by_guest: bool,
    /// It has its turn to send to the guest.
    pub(super) queued: bool,
    /// Who said CONNECT is told when the guest accepts.
    announces: bool,
    stream: Option<UnixStream>,
    owed: Owed,
    /// From the guest, and not taken by the host: at most a window.
    waiting: VecDeque<u8>,
    /// So much the host has taken, modulo 2^32; and so much the guest knows of.
    taken: u32,
    told: u32,
    /// So much was sent to the guest, and what it says of its own window.
    sent: u32,
    guest_window: u32,
    guest_taken: u32,
    guest_sends: bool,
    guest_receives: bool,
    host_sends: bool,
    host_receives: bool,
    /// The host's socket may have something to read.
    readable: bool,
    /// Nobody has the other end of the host's socket any more.
    deserted: bool,
    /// A SHUTDOWN of both directions has been sent.
    closed: bool,
}

impl Connection {
    /// A program of the host wants to speak with `guest_port`.
    pub(super) fn from_host(ports: (u32, u32), stream: UnixStream, announces: bool) -> Connection {
        let mut connection = Connection::new(ports, Stage::AsksGuest);
        connection.announces = announces;
        connection.stream = Some(stream);
        connection.readable = true;
        connection.owed.request = true;
        connection
    }

    /// A program of the guest wants to speak with `host_port`.
    pub(super) fn from_guest(request: &Header) -> Connection {
        let ports = (request.dst_port, request.src_port);
        let mut connection = Connection::new(ports, Stage::AsksHost);
        connection.learn(request);
        connection
    }

    fn new((host_port, guest_port): (u32, u32), stage: Stage) -> Connection {
        Connection {
            host_port,
            guest_port,
            stage,
            by_guest: stage == Stage::AsksHost,
            queued: false,
            announces: false,
            stream: None,
            owed: Owed::default(),
            waiting: VecDeque::new(),
            taken: 0,
            told: 0,
            sent: 0,
            guest_window: 0,
            guest_taken: 0,
            guest_sends: true,
            guest_receives: true,
            host_sends: true,
            host_receives: true,
            readable: false,
            deserted: false,
            closed: false,
        }
    }

    pub(super) fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }

    /// Bytes that the host has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The host accepted.
    pub(super) fn connected(&mut self, stream: UnixStream) {
        self.stream = Some(stream);
        self.stage = Stage::Open;
        self.owed.response = true;
        self.readable = true;
    }

    /// What every packet says of its sender's window.
    fn learn(&mut self, header: &Header) {
        self.guest_window = header.buf_alloc;
        self.guest_taken = header.fwd_cnt;
    }

    /// How much more the guest wants to be sent. What makes no sense is no credit.
    fn credit(&self) -> usize {
        let on_the_way = self.sent.wrapping_sub(self.guest_taken);
        usize::try_from(self.guest_window.saturating_sub(on_the_way)).unwrap_or(usize::MAX)
    }

    /// The numbers for a packet to the guest.
    pub(super) fn fill(&mut self, header: &mut Header) {
        header.buf_alloc = WINDOW;
        header.fwd_cnt = self.taken;
        self.told = self.taken;
    }

    /// A packet of the guest, but for REQUEST and RST.
    pub(super) fn hear(&mut self, header: &Header, data: &[u8]) -> Fate {
        self.learn(header);
        match (header.op, self.stage) {
            (op::RESPONSE, Stage::AsksGuest) => self.accepted(),
            (op::RW, Stage::Open) if self.guest_sends => self.take(data),
            (op::CREDIT_UPDATE, Stage::Open) => Fate::GoesOn,
            (op::CREDIT_REQUEST, Stage::Open) => {
                self.owed.credit_update = true;
                Fate::GoesOn
            }
            (op::SHUTDOWN, Stage::Open) => {
                self.guest_receives &= header.flags & SHUT_RECEIVE == 0;
                self.guest_sends &= header.flags & SHUT_SEND == 0;
                self.pass_on_ends()
            }
            _ => Fate::Reset,
        }
    }

    fn accepted(&mut self) -> Fate {
        if self.owed.request {
            // It answers what it was not asked.
            return Fate::Reset;
        }
        self.stage = Stage::Open;
        if !self.announces {
            return Fate::GoesOn;
        }
        let line = format!("OK {}\n", self.host_port);
        // Nothing was written to this socket before: there is room, or nobody to hear it.
        let mut stream = self.stream.as_ref();
        match stream.as_mut().map(|stream| stream.write(line.as_bytes())) {
            Some(Ok(count)) if count == line.len() => Fate::GoesOn,
            _ => Fate::Reset,
        }
    }

    /// Data of the guest, for the host.
    fn take(&mut self, data: &[u8]) -> Fate {
        let window = usize::try_from(WINDOW).unwrap_or(usize::MAX);
        if data.len() > window - self.waiting.len().min(window) {
            // Beyond its window.
            return Fate::Reset;
        }
        let mut rest = data;
        if self.waiting.is_empty() {
            let count = self.write(data);
            rest = &data[count..];
        }
        self.waiting.extend(rest);
        self.owe_credit();
        Fate::GoesOn
    }

    /// How much of it the host takes now. A host that takes nothing any more takes all.
    fn write(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        while let (true, Some(stream)) = (done < data.len(), self.stream.as_mut()) {
            if !self.host_receives {
                done = data.len();
                break;
            }
            match stream.write(&data[done..]) {
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.host_receives = false;
                    self.owed.shutdown |= SHUT_RECEIVE;
                }
            }
        }
        self.taken = self
            .taken
            .wrapping_add(u32::try_from(done).unwrap_or(u32::MAX));
        done
    }

    fn owe_credit(&mut self) {
        if self.taken.wrapping_sub(self.told) >= PORTION {
            self.owed.credit_update = true;
        }
    }

    /// The host's socket takes more.
    pub(super) fn writable(&mut self) -> Fate {
        while !self.waiting.is_empty() {
            let (piece, _) = self.waiting.as_slices();
            let piece = piece.to_vec();
            let count = self.write(&piece);
            self.waiting.drain(..count);
            if count < piece.len() {
                break;
            }
        }
        self.owe_credit();
        self.pass_on_ends()
    }

    /// The guest's ends of its directions become those of the host's socket, behind all data.
    fn pass_on_ends(&mut self) -> Fate {
        if self.guest_sends || !self.waiting.is_empty() {
            return Fate::GoesOn;
        }
        if !self.guest_receives {
            return Fate::Reset;
        }
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(Shutdown::Write);
        }
        Fate::GoesOn
    }

    /// There is something to read, if only its end; `deserted` when there is nobody behind it.
    pub(super) fn readable(&mut self, deserted: bool) -> Fate {
        self.readable = true;
        self.deserted |= deserted;
        if self.deserted && self.stage == Stage::AsksGuest {
            return Fate::Reset;
        }
        if self.deserted && !self.guest_receives {
            // Nobody reads to the end of it.
            self.host_ends();
        }
        Fate::GoesOn
    }

    /// Nothing more comes of the host.
    fn host_ends(&mut self) {
        self.host_sends = false;
        self.readable = false;
        self.owed.shutdown |= if self.deserted || !self.host_receives {
            SHUT_BOTH
        } else {
            SHUT_SEND
        };
    }

    /// Is there a packet for the guest?
    pub(super) fn wants(&self) -> bool {
        let owed = &self.owed;
        owed.request
            || owed.response
            || owed.credit_update
            || owed.credit_request
            || owed.shutdown != 0
            || self.may_read()
    }

    fn may_read(&self) -> bool {
        self.stage == Stage::Open && self.readable && self.guest_receives && self.credit() > 0
    }

    /// The next packet for the guest: what, its flags, and how much data of at most `room` bytes is at
    /// the beginning of `data` now.
    pub(super) fn next(&mut self, room: usize, data: &mut Vec<u8>) -> Option<(u16, u32)> {
        data.clear();
        let owed = &mut self.owed;
        if std::mem::take(&mut owed.request) {
            return Some((op::REQUEST, 0));
        }
        if std::mem::take(&mut owed.response) {
            return Some((op::RESPONSE, 0));
        }
        if std::mem::take(&mut owed.credit_update) {
            return Some((op::CREDIT_UPDATE, 0));
        }
        if self.may_read() {
            self.read(room, data);
            if !data.is_empty() {
                return Some((op::RW, 0));
            }
        }
        if std::mem::take(&mut self.owed.credit_request) {
            return Some((op::CREDIT_REQUEST, 0));
        }
        // Behind all data.
        let ends = std::mem::take(&mut self.owed.shutdown);
        self.closed |= ends & SHUT_BOTH == SHUT_BOTH;
        (ends != 0).then_some((op::SHUTDOWN, ends))
    }

    /// Both sides know that nothing more will come.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn read(&mut self, room: usize, data: &mut Vec<u8>) {
        let most = room.min(self.credit()).min(MOST_DATA);
        let Some(stream) = self.stream.as_mut().filter(|_| most > 0) else {
            return;
        };
        data.resize(most, 0);
        let count = match stream.read(data) {
            Ok(0) => {
                self.host_ends();
                0
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(_) => {
                self.deserted = true;
                self.host_ends();
                0
            }
        };
        data.truncate(count);
        self.sent = self
            .sent
            .wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        if count > 0 && self.credit() == 0 {
            self.owed.credit_request = true;
        }
    }
}
