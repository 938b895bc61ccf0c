//! What all flows share: the sockets' events, who has something for the guest, and when.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

use crate::user::NetworkBoot;
use crate::user::plan::{GUEST4, Mac, Subnet};
use crate::user::policy::Policy;
use crate::user::poller::{Owner, Poller};
use crate::{Frame, Offloads};

/// Takes a frame for the guest, or not now.
pub(super) type Deliver<'a> = dyn FnMut(&Frame<'_>) -> bool + 'a;

/// Answers that belong to no flow and wait for the guest. It may ask faster than it listens.
const ANSWERS: usize = 64;
/// Frames to it before the guest has sent one go to all.
const NOBODY: Mac = [0xff; 6];

/// What became of a flow's chance to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emitted {
    Nothing,
    Taken,
    /// The guest has no room.
    Refused,
    /// Taken, and it was the flow's last.
    Last,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) poller: Poller,
    pub(super) policy: Policy,
    /// Flows that may have a frame for the guest, each at most once.
    ready: VecDeque<Owner>,
    answers: VecDeque<Vec<u8>>,
    /// What frames for the guest may leave undone.
    pub(super) guest: Offloads,
    pub(super) mac: Mac,
    /// What the guest is lent by DHCP.
    pub(super) address: Ipv4Addr,
    pub(super) subnet: Subnet,
    pub(super) mtu: u16,
    pub(super) boot: Option<NetworkBoot>,
    pub(super) now: Instant,
    alarm: Option<Instant>,
}

impl World {
    pub(super) fn new(policy: Policy, mtu: u16) -> io::Result<World> {
        Ok(World {
            poller: Poller::new()?,
            policy,
            ready: VecDeque::new(),
            answers: VecDeque::new(),
            guest: Offloads::NONE,
            mac: NOBODY,
            address: GUEST4,
            subnet: Subnet::USER,
            mtu,
            boot: None,
            now: Instant::now(),
            alarm: None,
        })
    }

    /// Has a flow asked for its chance to send, once. `queued` is the flow's own mark of that.
    pub(super) fn queue(&mut self, owner: Owner, queued: &mut bool) {
        if !std::mem::replace(queued, true) {
            self.ready.push_back(owner);
        }
    }

    pub(super) fn next_ready(&self) -> Option<Owner> {
        self.ready.front().copied()
    }

    /// The first has had its chance. `again` when it may have more.
    pub(super) fn next_turn(&mut self, again: bool) {
        if let Some(owner) = self.ready.pop_front()
            && again
        {
            self.ready.push_back(owner);
        }
    }

    /// A flow is gone.
    pub(super) fn forget(&mut self, owner: Owner, queued: bool) {
        if queued {
            self.ready.retain(|other| *other != owner);
        }
    }

    /// How many flows stand in the queue.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// Keeps a frame for the guest, if not too many wait.
    pub(super) fn answer(&mut self, frame: impl Into<Option<Vec<u8>>>) {
        if let Some(frame) = frame.into()
            && self.answers.len() < ANSWERS
        {
            self.answers.push_back(frame);
        }
    }

    /// Offers the next answer. `None` when there is none.
    pub(super) fn offer_answer(&mut self, deliver: &mut Deliver<'_>) -> Option<bool> {
        let frame = self.answers.front()?;
        let taken = deliver(&Frame {
            offload: crate::OffloadHeader::default(),
            parts: &[frame],
        });
        if taken {
            self.answers.pop_front();
        }
        Some(taken)
    }

    /// Somebody wants to be looked at then.
    pub(super) fn remind(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
        }
    }

    /// Is it time to look at all? The next alarm is to be set anew then.
    pub(super) fn alarm_rings(&mut self) -> bool {
        let rings = self.alarm.is_some_and(|alarm| alarm <= self.now);
        if rings {
            self.alarm = None;
        }
        rings
    }

    pub(super) fn alarm(&self) -> Option<Instant> {
        self.alarm
    }
}
