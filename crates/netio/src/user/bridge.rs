//! A network on a bridge of the host's, where that is allowed: the guest's frames go to a tap interface
//! that stands on the bridge, and the host's kernel moves them from there, to other guests and to the
//! world.
//!
//! What the guest needs to be told stays with its own process, as in a network without privilege: it
//! is the DHCP server, the router that advertises, and the resolver, at the same addresses as ever
//! (10.0.2.3, fd69:6e6e::3), which are on the way to the gateway and go no further. So there is no
//! server on the bridge to be started, watched or attacked, and the guest is kept honest before
//! anybody sees its frames, whatever the host's firewall can do.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};

use crate::user::honest::{Identity, is_configuration};
use crate::user::leases::{self, Lease};
use crate::user::packet::{ETHERNET, TYPE_IPV4, TYPE_IPV6, word};
use crate::user::plan::{GATEWAY_MAC, RESOLVER4, RESOLVER6, Subnet};
use crate::user::world::{Deliver, Emitted};
use crate::{Link, OffloadHeader};

/// So often at most, the list of members is looked at.
const FRESH: Duration = Duration::from_millis(200);

/// Who a guest is on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Has the list of who is in the network.
    pub directory: PathBuf,
    pub name: String,
    pub mac: [u8; 6],
    pub subnet: Subnet,
    /// The last part of its IPv4 address.
    pub last: u8,
    /// Nothing but the others' names is resolved.
    pub isolated: bool,
}

/// Where a frame of the guest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To this process.
    Own,
    /// To the bridge.
    Out,
    Nowhere,
}

#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) tap: Box<dyn Link>,
    directory: OwnedFd,
    lease: Lease,
    subnet: Subnet,
    known: Vec<Lease>,
    read: Option<Instant>,
    pub(super) readable: bool,
    pub(super) queued: bool,
}

impl Bridge {
    pub(super) fn new(tap: Box<dyn Link>, options: &BridgeOptions) -> io::Result<Bridge> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Bridge {
            tap,
            directory: open(&options.directory, flags, Mode::empty())?,
            lease: Lease {
                name: options.name.clone(),
                last: options.last,
                mac: options.mac,
            },
            subnet: options.subnet,
            known: Vec::new(),
            read: None,
            readable: true,
            queued: false,
        })
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.subnet.address(self.lease.last)
    }

    pub(super) fn way(&self, frame: &[u8]) -> Way {
        let Some(to) = frame.first_chunk::<6>() else {
            return Way::Nowhere;
        };
        if !Identity::of(&self.lease, self.subnet).is_honest(frame) {
            return Way::Nowhere;
        }
        let is_ours = *to == GATEWAY_MAC;
        if is_configuration(frame) {
            let heard = is_ours || to[0] & 1 != 0;
            return if heard { Way::Own } else { Way::Nowhere };
        }
        if is_ours && is_for_resolver(frame) {
            Way::Own
        } else {
            Way::Out
        }
    }

    pub(super) fn send(&mut self, offload: &OffloadHeader, frame: &[u8]) {
        self.tap.send(offload, frame);
    }

    /// Offers the guest the next frame from the bridge.
    pub(super) fn emit(&mut self, deliver: &mut Deliver<'_>) -> Emitted {
        if !self.readable {
            self.queued = false;
            return Emitted::Nothing;
        }
        let mut refused = false;
        let taken = self.tap.receive(&mut |frame| {
            let start = frame.parts.first().copied().unwrap_or_default();
            // It hears from us how it gets its addresses, and from nobody else.
            refused = !is_configuration(start) && !deliver(frame);
            !refused
        });
        if taken {
            Emitted::Taken
        } else if refused {
            Emitted::Refused
        } else {
            self.readable = false;
            self.queued = false;
            Emitted::Nothing
        }
    }

    /// The address of the guest of this name.
    pub(super) fn find(&mut self, now: Instant, name: &str) -> Option<Ipv4Addr> {
        let is_fresh = self
            .read
            .is_some_and(|read| now.duration_since(read) < FRESH);
        if !is_fresh {
            self.read = Some(now);
            self.known = leases::read(&self.directory).unwrap_or_default();
        }
        let found = self
            .known
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(name))?;
        Some(self.subnet.address(found.last))
    }
}

fn is_for_resolver(frame: &[u8]) -> bool {
    match word(frame, 12) {
        Some(TYPE_IPV4) => frame.get(ETHERNET + 16..ETHERNET + 20) == Some(&RESOLVER4.octets()),
        Some(TYPE_IPV6) => frame.get(ETHERNET + 24..ETHERNET + 40) == Some(&RESOLVER6.octets()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
