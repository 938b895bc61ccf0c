//! Rules, and which of them decides.

use std::net::IpAddr;

use super::flows::Flow;
use crate::user::packet::{ICMP, ICMPV6, TCP, UDP};

/// Seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Accept,
    /// Without a word.
    Drop,
    /// The sender is told.
    Reject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    /// Of both families.
    Icmp,
}

/// Addresses that begin like this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peers {
    pub address: IpAddr,
    /// So many bits of it count.
    pub bits: u8,
}

/// What `None` is said of does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub direction: Direction,
    pub action: Action,
    pub transport: Option<Transport>,
    /// Who is at the other end.
    pub peers: Option<Peers>,
    /// First and last, of the side that is called: the guest's of what comes in.
    pub ports: Option<(u16, u16)>,
}

/// The first rule that fits decides, else `into` and `out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub into: Action,
    pub out: Action,
    pub rules: Vec<Rule>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            into: Action::Accept,
            out: Action::Accept,
            rules: Vec::new(),
        }
    }
}

impl Rules {
    /// Does everything pass?
    pub(super) fn are_open(&self) -> bool {
        self.rules.is_empty() && self.into == Action::Accept && self.out == Action::Accept
    }

    pub(super) fn judge(&self, opener: Direction, flow: &Flow) -> Action {
        let fitting = self.rules.iter().find(|rule| rule.fits(opener, flow));
        match (fitting, opener) {
            (Some(rule), _) => rule.action,
            (None, Direction::In) => self.into,
            (None, Direction::Out) => self.out,
        }
    }
}

impl Rule {
    fn fits(&self, opener: Direction, flow: &Flow) -> bool {
        let called = match opener {
            Direction::In => flow.guest.port(),
            Direction::Out => flow.peer.port(),
        };
        let peer = flow.peer.ip();
        self.direction == opener
            && self.transport.is_none_or(|it| it.is(flow.protocol))
            && self.peers.is_none_or(|peers| peers.contain(peer))
            && self.ports.is_none_or(|(first, last)| {
                matches!(flow.protocol, TCP | UDP) && (first..=last).contains(&called)
            })
    }
}

impl Transport {
    fn is(self, protocol: u8) -> bool {
        match self {
            Transport::Tcp => protocol == TCP,
            Transport::Udp => protocol == UDP,
            Transport::Icmp => matches!(protocol, ICMP | ICMPV6),
        }
    }
}

impl Peers {
    fn contain(self, address: IpAddr) -> bool {
        let [ours, theirs, width] = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                [ours.to_bits(), theirs.to_bits(), 32].map(u128::from)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => [ours.to_bits(), theirs.to_bits(), 128],
            _ => return false,
        };
        let free = width.saturating_sub(self.bits.into());
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        (ours ^ theirs).checked_shr(free).unwrap_or(0) == 0
    }
}
