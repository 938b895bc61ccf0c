//! What is open, and who opened it.
//!
//! There are two generations of connections. When the younger is full it becomes the older one,
//! whose connections are forgotten unless they move: so the number is bounded, and finding room
//! costs nothing however fast a guest or a stranger opens new ones.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::rules::Direction;
use super::sight::{Packet, Piece, Quoted, What};
use crate::user::packet::{ICMP, TCP, UDP};

/// Of a generation.
const LIMIT: usize = 4096;
/// Packets that came in pieces.
const PIECES: usize = 64;
/// Idle for so long, it is forgotten.
const TCP_IDLE: Duration = Duration::from_secs(24 * 3600);
const OTHER_IDLE: Duration = Duration::from_secs(180);

/// Ports are 0 where the protocol has none, and its number of an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) protocol: u8,
    pub(super) guest: SocketAddr,
    pub(super) peer: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    opener: Direction,
    last: Instant,
    /// The rules that it was judged by.
    judged: u64,
}

#[derive(Debug, Default)]
pub(super) struct Flows {
    young: HashMap<Flow, Open>,
    old: HashMap<Flow, Open>,
    pieces: VecDeque<Piece>,
    rules: u64,
}

impl Flow {
    pub(super) fn of(direction: Direction, packet: &Packet) -> Flow {
        let (protocol, source, destination) = match packet.what {
            What::Tcp {
                source,
                destination,
                ..
            } => (TCP, source, destination),
            What::Udp {
                source,
                destination,
            } => (UDP, source, destination),
            What::Echo { number, .. } => (ICMP, number, number),
            What::Error { .. } => (ICMP, 0, 0),
            What::Other { protocol } => (protocol, 0, 0),
        };
        let source = SocketAddr::new(packet.source, source);
        let destination = SocketAddr::new(packet.destination, destination);
        let [guest, peer] = super::ends(direction, source, destination);
        Flow {
            protocol,
            guest,
            peer,
        }
    }

    /// The flow that an error is about: its packet went the other way.
    pub(super) fn quoted(direction: Direction, quoted: &Quoted) -> Flow {
        let [guest, peer] = super::ends(direction, quoted.destination, quoted.source);
        Flow {
            protocol: quoted.protocol,
            guest,
            peer,
        }
    }

    fn idle(&self) -> Duration {
        if self.protocol == TCP {
            TCP_IDLE
        } else {
            OTHER_IDLE
        }
    }
}

impl Flows {
    /// The rules have changed.
    pub(super) fn judge_again(&mut self) {
        self.rules += 1;
        self.pieces.clear();
    }

    pub(super) fn open(&mut self, flow: Flow, opener: Direction, now: Instant) {
        let open = Open {
            opener,
            last: now,
            judged: self.rules,
        };
        self.put(flow, open);
    }

    /// Is it open? `judge` is asked once about one that was opened under other rules, by its opener.
    pub(super) fn find(
        &mut self,
        flow: &Flow,
        now: Instant,
        judge: impl FnOnce(Direction) -> bool,
    ) -> bool {
        let Some(mut open) = self.young.get(flow).or_else(|| self.old.get(flow)).copied() else {
            return false;
        };
        let is_idle = now.saturating_duration_since(open.last) > flow.idle();
        if is_idle || open.judged != self.rules && !judge(open.opener) {
            self.young.remove(flow);
            self.old.remove(flow);
            return false;
        }
        open.last = now;
        open.judged = self.rules;
        self.put(*flow, open);
        true
    }

    fn put(&mut self, flow: Flow, open: Open) {
        if self.young.len() >= LIMIT && !self.young.contains_key(&flow) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(flow, open);
    }

    pub(super) fn knows_piece(&self, piece: &Piece) -> bool {
        self.pieces.contains(piece)
    }

    pub(super) fn remember_piece(&mut self, piece: Piece) {
        if self.pieces.len() == PIECES {
            self.pieces.pop_front();
        }
        self.pieces.push_back(piece);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
