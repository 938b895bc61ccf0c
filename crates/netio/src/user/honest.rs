//! Is a guest who it says it is? Asked of each frame that it sends to others, before they see it.
//!
//! Its card's address, the IPv4 address that it was lent, and IPv6 addresses of its own are its to use,
//! in what it sends, and in what it tells others of addresses (ARP, neighbour discovery). IPv6
//! addresses are made up by guests. Those that say of which card they are made belong to that card; of
//! others none is anybody's, but for the first 65,536 of the network, which are the host's.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::user::dhcp;
use crate::user::leases::Lease;
use crate::user::packet::{ETHERNET, ICMPV6, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, UDP, word};
use crate::user::plan::{Mac, Subnet};

const IPV6: usize = 40;
/// Spec: RFC 4861, "Message Formats": solicitation and advertisement of a neighbour, and where the
/// target and the options are.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const TARGET: usize = 8;
const OPTIONS: usize = 24;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
/// More than any neighbour has to say.
const MAX_OPTIONS: usize = 16;

#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    mac: Mac,
    address: Ipv4Addr,
    subnet: Subnet,
}

impl Identity {
    pub(super) fn of(lease: &Lease, subnet: Subnet) -> Identity {
        Identity {
            mac: lease.mac,
            address: subnet.address(lease.last),
            subnet,
        }
    }

    pub(super) fn is_honest(&self, frame: &[u8]) -> bool {
        let mac_at = |at: usize| frame.get(at..at + 6) == Some(&self.mac);
        let ours = self.address.octets();
        let ip_at = |at: usize| {
            let ip = frame.get(at..at + 4);
            ip == Some(&ours) || ip == Some(&[0; 4])
        };
        mac_at(6)
            && match word(frame, 12) {
                Some(TYPE_ARP) => mac_at(ETHERNET + 8) && ip_at(ETHERNET + 14),
                Some(TYPE_IPV4) => ip_at(ETHERNET + 12),
                Some(TYPE_IPV6) => self.is_honest6(&frame[ETHERNET..]),
                _ => false,
            }
    }

    fn is_honest6(&self, packet: &[u8]) -> bool {
        let source = packet.get(8..24);
        if !source.is_some_and(|source| self.may_use(source, true)) {
            return false;
        }
        // With headers in between it is dropped as configuration.
        if packet.get(6) != Some(&ICMPV6) {
            return true;
        }
        let message = packet.get(IPV6..).unwrap_or_default();
        let (link, target_is_own) = match message.first() {
            Some(&SOLICITATION) => (SOURCE_LINK, false),
            Some(&ADVERTISEMENT) => (TARGET_LINK, true),
            _ => return true,
        };
        let target = message.get(TARGET..TARGET + 16);
        let target_is_fine = !target_is_own || target.is_some_and(|it| self.may_use(it, false));
        target_is_fine && self.tells_own_link(message.get(OPTIONS..), link)
    }

    /// Is the card's address that it tells of its own? Spec: RFC 4861, "Option Formats".
    fn tells_own_link(&self, options: Option<&[u8]>, link: u8) -> bool {
        let mut rest = options.unwrap_or_default();
        for _ in 0..MAX_OPTIONS {
            let Some((&[kind, units], _)) = rest.split_first_chunk() else {
                return true;
            };
            let Some((option, next)) = rest.split_at_checked(8 * usize::from(units)) else {
                // Nobody heeds a message like this.
                return false;
            };
            if units == 0 || kind == link && option.get(2..8) != Some(&self.mac) {
                return false;
            }
            rest = next;
        }
        false
    }

    fn may_use(&self, address: &[u8], or_none: bool) -> bool {
        let Some(octets) = address.first_chunk::<16>() else {
            return false;
        };
        let address = Ipv6Addr::from(*octets);
        if address.is_unspecified() {
            return or_none;
        }
        let is_here = address.is_unicast_link_local() || self.subnet.contains(address.into());
        is_here && self.may_use_interface(octets)
    }

    /// The second half of an address. Spec: RFC 4291, "Creating Modified EUI-64 Format Interface
    /// Identifiers".
    fn may_use_interface(&self, octets: &[u8; 16]) -> bool {
        let [.., i0, i1, i2, i3, i4, i5, i6, i7] = *octets;
        if [i3, i4] == [0xff, 0xfe] {
            return [i0 ^ 2, i1, i2, i5, i6, i7] == self.mac;
        }
        [i0, i1, i2, i3, i4, i5] != [0; 6]
    }
}

/// Is it of how a guest gets its addresses? That is between it and us: no guest tells another.
pub(super) fn is_configuration(frame: &[u8]) -> bool {
    let (protocol, header) = match word(frame, 12) {
        Some(TYPE_IPV4) => {
            let words = frame.get(ETHERNET).map_or(0, |byte| byte & 0xf);
            (frame.get(ETHERNET + 9), 4 * usize::from(words))
        }
        Some(TYPE_IPV6) => (frame.get(ETHERNET + 6), 40),
        _ => return false,
    };
    let message = frame.get(ETHERNET + header..).unwrap_or_default();
    match protocol {
        Some(&UDP) => [word(message, 0), word(message, 2)].contains(&Some(dhcp::SERVER_PORT)),
        // Router solicitations and advertisements, and redirects. Behind extension headers a guest
        // would have to look for them.
        Some(&ICMPV6) => matches!(message.first(), Some(133 | 134 | 137)),
        Some(0 | 43 | 44 | 60) => word(frame, 12) == Some(TYPE_IPV6) && !is_group_report(message),
        _ => false,
    }
}

/// Multicast listener reports come behind a hop-by-hop option. Spec: RFC 3810.
fn is_group_report(message: &[u8]) -> bool {
    let len = message
        .get(1)
        .map_or(0, |units| 8 * (1 + usize::from(*units)));
    message.first() == Some(&ICMPV6) && matches!(message.get(len), Some(131 | 132 | 143))
}

#[cfg(test)]
mod tests;
