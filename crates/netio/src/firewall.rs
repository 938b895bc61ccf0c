//! What may come to a guest and leave it, by rules of its owner's that can change while it runs.
//!
//! - A rule is asked about what opens a connection; what belongs to one that was let through passes,
//!   in both directions ([`flows`]). A connection is judged again by rules that have changed, so
//!   that what they forbid ends.
//! - The first rule that fits decides, else what is said for its direction as a whole.
//! - How addresses are found out and handed out (ARP, neighbour discovery, DHCP) always passes, where it
//!   cannot lead further than the guest's own link ([`sight`]).
//! - All kinds of networks have it alike: it is a [`Link`] around the guest's own ([`Guarded`]), in the
//!   guest's process. Rejected: rules of the host's firewall for guests on bridges, which some
//!   kernels have not for frames that stay on one, and user networks would need the same in any case.
//!
//! While no rule is there everything passes, but connections are remembered, so that rules that come
//! later know who opened them.

mod flows;
mod guarded;
mod refusal;
mod rules;
mod sight;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::user::Subnet;

use flows::{Flow, Flows};
pub use guarded::Guarded;
pub use rules::{Action, Direction, Peers, Rule, Rules, Transport};
use sight::{Packet, Sight, What};

/// Of a frame, what is looked at: Ethernet, the longest IP header with some extensions, TCP, and as
/// much of the packet that an error is about.
const START: usize = 256;

/// The firewall of one card, for all its queues. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Firewall {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rules: Rules,
    flows: Flows,
}

impl Firewall {
    #[must_use]
    pub fn new(rules: Rules) -> Firewall {
        let firewall = Firewall::default();
        firewall.set(rules);
        firewall
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These hold from now on, for what is open as well.
    pub fn set(&self, rules: Rules) {
        let mut state = self.state();
        state.rules = rules;
        state.flows.judge_again();
    }

    /// Everything passes: nobody has to look.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().rules.are_open()
    }

    /// What becomes of a frame that begins like this. `link` are the addresses of the guest's network,
    /// where it is one of ours.
    fn decide(&self, direction: Direction, start: &[u8], link: Option<Subnet>) -> Action {
        let sight = sight::look(direction, start, link);
        self.state().decide(direction, &sight, Instant::now())
    }
}

impl State {
    fn decide(&mut self, direction: Direction, sight: &Sight, now: Instant) -> Action {
        let unless_open = |rules: &Rules| {
            if rules.are_open() {
                Action::Accept
            } else {
                Action::Drop
            }
        };
        match sight {
            Sight::Needed => Action::Accept,
            Sight::Unknown => unless_open(&self.rules),
            Sight::Piece(piece) if self.flows.knows_piece(piece) => Action::Accept,
            Sight::Piece(_) => unless_open(&self.rules),
            Sight::Packet(packet) => {
                let action = self.decide_packet(direction, packet, now);
                if let Some(piece) = packet.piece
                    && action == Action::Accept
                {
                    self.flows.remember_piece(piece);
                }
                action
            }
        }
    }

    fn decide_packet(&mut self, direction: Direction, packet: &Packet, now: Instant) -> Action {
        let flow = Flow::of(direction, packet);
        let belongs = match packet.what {
            // Whoever opens is asked about each time: the other side may want one of its own.
            What::Tcp { opens: true, .. } | What::Echo { request: true, .. } => false,
            What::Error { about: Some(about) } => {
                let passes = self.passes(&Flow::quoted(direction, &about), now);
                if passes {
                    return Action::Accept;
                }
                false
            }
            _ => self.passes(&flow, now),
        };
        if belongs {
            return Action::Accept;
        }
        let in_the_middle = matches!(
            packet.what,
            What::Tcp { opens: false, .. } | What::Echo { request: false, .. }
        );
        if in_the_middle && !self.rules.are_open() {
            // Of nothing that was let through, such as what a guest answers to.
            return Action::Drop;
        }
        let action = self.rules.judge(direction, &flow);
        if action == Action::Accept && !matches!(packet.what, What::Error { .. }) {
            self.flows.open(flow, direction, now);
        }
        action
    }

    /// Is it open, and would it be now?
    fn passes(&mut self, flow: &Flow, now: Instant) -> bool {
        let rules = &self.rules;
        self.flows.find(flow, now, |opener| {
            rules.judge(opener, flow) == Action::Accept
        })
    }
}

/// The two ends, as a packet of the guest's has them.
fn ends(direction: Direction, source: SocketAddr, destination: SocketAddr) -> [SocketAddr; 2] {
    match direction {
        Direction::Out => [source, destination],
        Direction::In => [destination, source],
    }
}

#[cfg(test)]
mod tests;
