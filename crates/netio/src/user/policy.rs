//! Where a guest may go. It acts with its host's addresses, so what the host's own position opens is
//! shut here: its loopback, the links it is on, the services that trust whoever is on the machine.
//!
//! - The gateway stands for the host's loopback, and is refused unless the guest's owner allows that.
//! - So are the host's other addresses, whose services a firewall does not guard from the inside.
//! - Link-local, multicast, broadcast and unspecified addresses are refused: where a cloud tells
//!   machines their secrets (169.254.169.254, fd00:ec2::254) is not the guest's to ask.
//! - An isolated guest reaches nothing but what of the host it is allowed.
//! - The resolver's address reaches whichever resolver the host uses, wherever that is, on port 53.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};

use crate::user::plan::{GATEWAY4, GATEWAY6, RESOLVER4, RESOLVER6, inside};
use crate::user::resolver::Resolver;

pub(super) const DNS: u16 = 53;
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

#[derive(Debug)]
pub(super) struct Policy {
    host_allowed: bool,
    isolated: bool,
    pub(super) resolver: Resolver,
}

impl Policy {
    pub(super) fn new(host_allowed: bool, isolated: bool) -> Policy {
        Policy {
            host_allowed,
            isolated,
            resolver: Resolver::default(),
        }
    }

    /// Where to go for what the guest calls `destination`. `None` when it may not.
    pub(super) fn target(&mut self, destination: SocketAddr, now: Instant) -> Option<SocketAddr> {
        let (ip, port) = (destination.ip(), destination.port());
        if is_resolver(ip) {
            return (port == DNS && !self.isolated)
                .then(|| self.resolver.server(now))
                .flatten();
        }
        if port == 0 {
            return None;
        }
        if [IpAddr::from(GATEWAY4), IpAddr::from(GATEWAY6)].contains(&ip) {
            let host: IpAddr = match ip {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            return self.host_allowed.then_some(SocketAddr::new(host, port));
        }
        self.may_reach(ip).then_some(destination)
    }

    /// May the guest send to this address, which is not one of ours?
    pub(super) fn may_reach(&self, ip: IpAddr) -> bool {
        if inside(ip) || is_forbidden(ip) || self.isolated && !self.host_allowed {
            return false;
        }
        match (self.host_allowed, self.isolated) {
            (true, false) => true,
            (allowed, _) => is_host(ip) == allowed,
        }
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Has the guest a way to the IPv6 Internet? Nothing is sent.
    pub(super) fn has_ipv6(&self) -> bool {
        !self.isolated && host_has_ipv6()
    }
}

pub(super) fn is_resolver(ip: IpAddr) -> bool {
    [IpAddr::from(RESOLVER4), IpAddr::from(RESOLVER6)].contains(&ip)
}

fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            // This network, loopback, multicast, reserved and broadcast.
            matches!(first, 0 | 127 | 224..) || ip.is_link_local()
        }
        IpAddr::V6(ip) => {
            // Unspecified, loopback and IPv4 in disguise.
            let embeds_v4 = u128::from(ip) >> 48 == 0;
            embeds_v4 || ip.is_multicast() || ip.is_unicast_link_local() || ip == METADATA6
        }
    }
}

/// Is it an address of the host? What it would send there from tells: the same.
fn is_host(ip: IpAddr) -> bool {
    let ask = || -> Result<bool, Errno> {
        let family = if ip.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddr::new(ip, DNS))?;
        let own = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(own.ip() == ip)
    };
    // What cannot be sent to is nobody's, and the attempt will say so.
    ask().unwrap_or(false)
}

fn host_has_ipv6() -> bool {
    let ask = || -> Result<(), Errno> {
        let socket = socket_with(
            AddressFamily::INET6,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let anywhere = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);
        connect(&socket, &SocketAddr::new(anywhere.into(), DNS))
    };
    ask().is_ok()
}

#[cfg(test)]
mod tests;
