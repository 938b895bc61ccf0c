//! All connections of a guest: packets in, packets out, and the host's sockets between.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with};

use crate::virtio::vsock::VsockOptions;
use crate::virtio::vsock::connection::{Connection, Fate, Stage};
use crate::virtio::vsock::greeting::{Greeted, Greeting};
use crate::virtio::vsock::outward::Outward;
use crate::virtio::vsock::packet::{HOST, Header, STREAM, op};

/// At a time. Who comes then waits.
pub const MOST_CONNECTIONS: usize = 512;
/// Of them those that the guest made. More are refused.
pub const MOST_FROM_GUEST: usize = 256;
/// Refusals that wait for buffers of the guest. Until it has some, its packets wait as well.
const MOST_REFUSALS: usize = 256;
/// The host's ports, where the guest did not name one; as Firecracker has them.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// Events taken from the host at once.
const EVENTS: usize = 64;

const LISTENER: u64 = 0;
const OUTWARD: u64 = 1;
const FIRST_NUMBER: u64 = 2;

/// A packet for the guest, its header complete.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub header: Header,
    pub data: &'a [u8],
}

#[derive(Debug)]
struct Guest {
    number: u64,
    greeting: Greeting,
    stream: UnixStream,
}

/// Connections by a number that none had before, which is also what the host's events name.
#[derive(Debug)]
pub struct Exchange {
    cid: u64,
    listener: Option<OwnedFd>,
    outward: Option<Outward>,
    epoll: OwnedFd,
    connections: BTreeMap<u64, Connection>,
    /// By port of the host and port of the guest.
    numbers: BTreeMap<(u32, u32), u64>,
    /// Those of the host that have not said yet where they want to.
    greeters: BTreeMap<u64, Guest>,
    from_guest: usize,
    /// Those that have something for the guest, in turn; each is here once.
    ready: VecDeque<u64>,
    /// Ports of packets that nobody is there for.
    refusals: VecDeque<(u32, u32)>,
    /// Somebody may wait at the listener.
    knocks: bool,
    next_number: u64,
    next_port: u32,
    data: Vec<u8>,
}

impl Exchange {
    /// # Errors
    /// When the host has no more descriptors.
    pub fn new(options: VsockOptions) -> io::Result<Exchange> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let watch = |fd: BorrowedFd<'_>, number| {
            let flags = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, fd, EventData::new_u64(number), flags)
        };
        if let Some(listener) = &options.listener {
            rustix::io::ioctl_fionbio(listener, true)?;
            watch(listener.as_fd(), LISTENER)?;
        }
        let outward = options.outward.map(Outward::new).transpose()?;
        if let Some(outward) = &outward {
            watch(outward.as_fd(), OUTWARD)?;
        }
        Ok(Exchange {
            cid: options.cid.into(),
            knocks: options.listener.is_some(),
            listener: options.listener,
            outward,
            epoll,
            connections: BTreeMap::new(),
            numbers: BTreeMap::new(),
            greeters: BTreeMap::new(),
            from_guest: 0,
            ready: VecDeque::new(),
            refusals: VecDeque::new(),
            next_number: FIRST_NUMBER,
            next_port: FIRST_HOST_PORT,
            data: Vec::new(),
        })
    }

    /// Readable when [`Exchange::turn`] has something to do.
    pub(super) fn events(&self) -> Option<OwnedFd> {
        self.epoll.try_clone().ok()
    }

    /// All connections end without a word, as by a reset of the guest.
    pub fn clear(&mut self) {
        let all: Vec<u64> = self.connections.keys().copied().collect();
        for number in all {
            self.remove(number);
        }
        for greeter in std::mem::take(&mut self.greeters).into_values() {
            let _ = epoll::delete(&self.epoll, &greeter.stream);
        }
        self.ready.clear();
        self.refusals.clear();
        self.knocks = self.listener.is_some();
    }

    /// How many connections there are, with those that have not said yet where they want to.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.len() + self.greeters.len()
    }

    /// Bytes that wait for the host.
    #[must_use]
    pub fn held(&self) -> usize {
        self.connections.values().map(Connection::waiting).sum()
    }

    /// Does a packet of the guest have to wait until the guest takes some?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.refusals.len() >= MOST_REFUSALS
    }

    // The host's side.

    /// Sees to what has happened on the host. `true` while there may be more.
    pub fn turn(&mut self) -> bool {
        let mut events = Vec::with_capacity(EVENTS);
        let none = rustix::event::Timespec::default();
        if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&none)).is_err() {
            return false;
        }
        let more = events.len() == EVENTS;
        for event in events {
            let flags = event.flags;
            match event.data.u64() {
                LISTENER => self.knocks = true,
                OUTWARD => self.hear_answers(),
                number => self.happened(number, flags),
            }
        }
        while self.knocks && self.count() < MOST_CONNECTIONS {
            self.let_in();
        }
        more
    }

    fn happened(&mut self, number: u64, flags: EventFlags) {
        if self.greeters.contains_key(&number) {
            return self.greeted(number);
        }
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let deserted = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let mut fate = Fate::GoesOn;
        if flags.contains(EventFlags::OUT) || deserted {
            fate = connection.writable();
        }
        if fate == Fate::GoesOn && (flags.contains(EventFlags::IN) || deserted) {
            fate = connection.readable(deserted);
        }
        self.conclude(number, fate);
    }

    fn let_in(&mut self) {
        let Some(listener) = &self.listener else {
            self.knocks = false;
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(stream) = accept_with(listener, flags).map(UnixStream::from) else {
            // There is nobody, or no descriptor for whoever is.
            self.knocks = false;
            return;
        };
        let number = self.number();
        if self.watch(&stream, number) {
            let greeting = Greeting::default();
            let guest = Guest {
                number,
                greeting,
                stream,
            };
            self.greeters.insert(number, guest);
            self.greeted(number);
        }
    }

    /// Somebody has said more of where they want to.
    fn greeted(&mut self, number: u64) {
        let Some(guest) = self.greeters.get_mut(&number) else {
            return;
        };
        let greeted = guest.greeting.read(&guest.stream);
        if greeted == Greeted::NotYet {
            return;
        }
        let Some(guest) = self.greeters.remove(&number) else {
            return;
        };
        match greeted {
            Greeted::Port(port) => self.begin(guest.number, guest.stream, port, true),
            Greeted::NotYet | Greeted::Nonsense => {
                let _ = epoll::delete(&self.epoll, &guest.stream);
                self.knocks = true;
            }
        }
    }

    /// Connects a stream of this process to `port` of the guest. Too many are refused, by an end of it.
    pub fn connect(&mut self, stream: OwnedFd, port: u32) {
        let stream = UnixStream::from(stream);
        let number = self.number();
        let room = self.count() < MOST_CONNECTIONS;
        if room && stream.set_nonblocking(true).is_ok() && self.watch(&stream, number) {
            self.begin(number, stream, port, false);
        }
    }

    fn begin(&mut self, number: u64, stream: UnixStream, guest_port: u32, announces: bool) {
        let ports = (self.free_port(guest_port), guest_port);
        self.numbers.insert(ports, number);
        let connection = Connection::from_host(ports, stream, announces);
        self.connections.insert(number, connection);
        self.conclude(number, Fate::GoesOn);
    }

    /// A port of the host that no connection to `guest_port` has. There are more than connections.
    fn free_port(&mut self, guest_port: u32) -> u32 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            if !self.numbers.contains_key(&(port, guest_port)) {
                return port;
            }
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn watch(&self, stream: &UnixStream, number: u64) -> bool {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, stream, EventData::new_u64(number), flags).is_ok()
    }

    // Whom the guest calls.

    fn hear_answers(&mut self) {
        while let Some(outward) = &self.outward {
            match outward.answer() {
                Ok(None) => return,
                Ok(Some(answer)) => self.answered(answer.number, answer.connected),
                Err(_) => {
                    // Nobody is asked any more.
                    let _ = epoll::delete(&self.epoll, outward);
                    self.outward = None;
                    self.nobody_answers();
                }
            }
        }
    }

    fn answered(&mut self, number: u32, connected: Option<OwnedFd>) {
        let number = u64::from(number);
        let asked = self.connections.get(&number);
        if asked.is_none_or(|connection| connection.stage != Stage::AsksHost) {
            // The guest did not wait.
            return;
        }
        let stream = connected
            .map(UnixStream::from)
            .filter(|stream| stream.set_nonblocking(true).is_ok() && self.watch(stream, number));
        let fate = match (stream, self.connections.get_mut(&number)) {
            (Some(stream), Some(connection)) => {
                connection.connected(stream);
                Fate::GoesOn
            }
            _ => Fate::Reset,
        };
        self.conclude(number, fate);
    }

    fn nobody_answers(&mut self) {
        let asking = self.connections.iter();
        let asking = asking.filter(|(_, connection)| connection.stage == Stage::AsksHost);
        let asking: Vec<u64> = asking.map(|(number, _)| *number).collect();
        for number in asking {
            self.conclude(number, Fate::Reset);
        }
    }

    // The guest's side.

    /// A packet of the guest. Only while not [`Exchange::is_full`].
    pub fn hear(&mut self, header: &Header, data: &[u8]) {
        if header.src_cid != self.cid || header.dst_cid != HOST {
            return;
        }
        let ports = (header.dst_port, header.src_port);
        let known = self.numbers.get(&ports).copied();
        let number = known.filter(|_| header.kind == STREAM);
        match (header.op, number) {
            (op::RST, Some(number)) => self.remove(number),
            (op::RST, None) => {}
            (op::REQUEST, Some(number)) => self.conclude(number, Fate::Reset),
            (op::REQUEST, None) if header.kind == STREAM => self.requested(header),
            (_, None) => self.refusals.push_back(ports),
            (_, Some(number)) => {
                let connection = self.connections.get_mut(&number);
                let fate = connection.map_or(Fate::Reset, |it| it.hear(header, data));
                self.conclude(number, fate);
            }
        }
    }

    fn requested(&mut self, header: &Header) {
        let ports = (header.dst_port, header.src_port);
        let number = self.number();
        let room = self.from_guest < MOST_FROM_GUEST && self.count() < MOST_CONNECTIONS;
        let question = u32::try_from(number).ok().filter(|_| room);
        let heard = match (question, &self.outward) {
            (Some(question), Some(outward)) => outward.ask(question, ports.0),
            _ => false,
        };
        if !heard {
            self.refusals.push_back(ports);
            return;
        }
        self.from_guest += 1;
        self.numbers.insert(ports, number);
        self.connections
            .insert(number, Connection::from_guest(header));
    }

    /// What follows of a step: an end, or a turn when there is something for the guest.
    fn conclude(&mut self, number: u64, fate: Fate) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        match fate {
            Fate::GoesOn => {
                if connection.wants() && !std::mem::replace(&mut connection.queued, true) {
                    self.ready.push_back(number);
                }
            }
            Fate::Reset => {
                self.refusals
                    .push_back((connection.host_port, connection.guest_port));
                self.remove(number);
            }
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        self.numbers
            .remove(&(connection.host_port, connection.guest_port));
        if let Some(stream) = connection.stream() {
            let _ = epoll::delete(&self.epoll, stream);
        }
        if connection.by_guest {
            self.from_guest -= 1;
        }
        // There is room for who waits at the listener.
        self.knocks = self.listener.is_some();
    }

    /// Is there anything for the guest?
    #[must_use]
    pub fn has_packet(&self) -> bool {
        !self.refusals.is_empty() || !self.ready.is_empty()
    }

    /// The next packet for the guest, with at most `room` bytes of data.
    pub fn packet(&mut self, room: usize) -> Option<Outgoing<'_>> {
        if let Some(ports) = self.refusals.pop_front() {
            let header = header(self.cid, ports, op::RST);
            return Some(Outgoing { header, data: &[] });
        }
        while let Some(number) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            connection.queued = false;
            let Some((op, flags)) = connection.next(room, &mut self.data) else {
                continue;
            };
            let ports = (connection.host_port, connection.guest_port);
            let mut header = header(self.cid, ports, op);
            header.flags = flags;
            header.len = u32::try_from(self.data.len()).unwrap_or(0);
            connection.fill(&mut header);
            if connection.is_closed() {
                self.remove(number);
            } else {
                self.conclude(number, Fate::GoesOn);
            }
            let data = &self.data;
            return Some(Outgoing { header, data });
        }
        None
    }
}

/// Of a packet to the guest without data.
fn header(cid: u64, (host_port, guest_port): (u32, u32), op: u16) -> Header {
    Header {
        src_cid: HOST,
        dst_cid: cid,
        src_port: host_port,
        dst_port: guest_port,
        len: 0,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: 0,
        fwd_cnt: 0,
    }
}
