//! The addresses of a user-mode network. Nothing outside ever sees them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) type Mac = [u8; 6];

pub(super) const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// Of everything that is not the guest. Locally administered.
pub(crate) const GATEWAY_MAC: Mac = [0x02, b'i', b'n', b'n', 0, 2];

pub(crate) const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(super) const RESOLVER4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub(super) const GUEST4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(super) const MASK4: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// A unique local prefix of 64 bits. Spec: RFC 4193.
pub(super) const PREFIX6: Ipv6Addr = Ipv6Addr::new(0xfd69, 0x6e6e, 0, 0, 0, 0, 0, 0);
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd69, 0x6e6e, 0, 0, 0, 0, 0, 2);
pub(super) const RESOLVER6: Ipv6Addr = Ipv6Addr::new(0xfd69, 0x6e6e, 0, 0, 0, 0, 0, 3);
pub(super) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
pub(super) const ALL_NODES6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Where the guests of a network have their addresses: 256 of IPv4, 64 bits of IPv6. Its gateway is
/// the second of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    pub v4: [u8; 3],
    pub v6: Ipv6Addr,
}

impl Subnet {
    /// Of user-mode networks.
    pub const USER: Subnet = Subnet {
        v4: [10, 0, 2],
        v6: PREFIX6,
    };

    pub(super) fn address(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.v4;
        Ipv4Addr::new(a, b, c, last)
    }

    pub(crate) fn gateway(self) -> Ipv4Addr {
        let [.., last] = GATEWAY4.octets();
        self.address(last)
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets().starts_with(&self.v4),
            IpAddr::V6(address) => u128::from(address) >> 64 == u128::from(self.v6) >> 64,
        }
    }
}

/// The two ends of a flow, as the guest knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) guest: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// Is it one of ours, which answers itself?
pub(super) fn is_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => [GATEWAY4, RESOLVER4].contains(&address),
        IpAddr::V6(address) => [GATEWAY6, RESOLVER6, ROUTER6].contains(&address),
    }
}

/// Is it an address of many?
pub(super) fn is_group(address: IpAddr) -> bool {
    let everybody = match address {
        IpAddr::V4(address) => {
            address.is_broadcast() || u32::from(address) == u32::from(GATEWAY4) | !u32::from(MASK4)
        }
        IpAddr::V6(_) => false,
    };
    everybody || address.is_multicast()
}

/// May a guest have this address?
pub(super) fn is_guests(address: IpAddr) -> bool {
    inside(address) && !is_own(address) && !is_group(address)
}

/// Does it lie in the network between us and the guest?
pub(super) fn inside(address: IpAddr) -> bool {
    Subnet::USER.contains(address)
}
