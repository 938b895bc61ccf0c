//! A link with a firewall before it.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::rules::{Action, Direction};
use super::{Firewall, START, refusal};
use crate::user::Subnet;
use crate::{Frame, Link, OffloadHeader, Offloads};

/// Refusals that wait for a guest. It may ask faster than it listens.
const REFUSALS: usize = 64;

#[derive(Debug)]
pub struct Guarded {
    link: Box<dyn Link>,
    firewall: Firewall,
    subnet: Option<Subnet>,
    refusals: VecDeque<Vec<u8>>,
}

impl Guarded {
    /// `subnet` are the addresses of the guest's network, where it is one of ours.
    #[must_use]
    pub fn new(link: Box<dyn Link>, firewall: Firewall, subnet: Option<Subnet>) -> Guarded {
        Guarded {
            link,
            firewall,
            subnet,
            refusals: VecDeque::new(),
        }
    }
}

impl Link for Guarded {
    fn offloads(&self) -> Offloads {
        self.link.offloads()
    }

    fn accept(&mut self, guest: Offloads) {
        self.link.accept(guest);
    }

    fn use_queue(&mut self, wanted: bool) {
        self.link.use_queue(wanted);
    }

    fn send(&mut self, offload: &OffloadHeader, frame: &[u8]) {
        let start = &frame[..frame.len().min(START)];
        match self.firewall.decide(Direction::Out, start, self.subnet) {
            Action::Accept => self.link.send(offload, frame),
            Action::Drop => {}
            Action::Reject => {
                if self.refusals.len() < REFUSALS {
                    self.refusals.extend(refusal::of(Direction::Out, start));
                }
            }
        }
    }

    fn turn(&mut self) {
        self.link.turn();
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool {
        if let Some(refusal) = self.refusals.front() {
            let taken = deliver(&Frame {
                offload: OffloadHeader::default(),
                parts: &[refusal],
            });
            if taken {
                self.refusals.pop_front();
            }
            return taken;
        }
        let (firewall, subnet) = (&self.firewall, self.subnet);
        let mut answer = None;
        let taken = self.link.receive(&mut |frame| {
            let mut bytes = [0; START];
            let start = start(frame, &mut bytes);
            match firewall.decide(Direction::In, start, subnet) {
                Action::Accept => deliver(frame),
                Action::Drop => true,
                Action::Reject => {
                    answer = refusal::of(Direction::In, start);
                    true
                }
            }
        });
        if let Some(answer) = answer {
            self.link.send(&OffloadHeader::default(), &answer);
        }
        taken
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        self.link.events()
    }

    fn wake_in(&self) -> Option<Duration> {
        self.link.wake_in()
    }

    fn mtu(&self) -> Option<u16> {
        self.link.mtu()
    }
}

/// The first bytes, in one piece.
fn start<'a>(frame: &Frame<'a>, bytes: &'a mut [u8; START]) -> &'a [u8] {
    if let Some(first) = frame.parts.first()
        && (first.len() >= START || frame.parts.len() == 1)
    {
        return &first[..first.len().min(START)];
    }
    let mut len = 0;
    for part in frame.parts {
        let now = part.len().min(START - len);
        bytes[len..len + now].copy_from_slice(&part[..now]);
        len += now;
    }
    &bytes[..len]
}
