//! Writes the headers of frames for the guest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Checksum;
use crate::user::packet::{TYPE_IPV4, TYPE_IPV6};
use crate::user::plan::{GATEWAY_MAC, Mac};

/// Ethernet, IPv6, TCP with all options.
const CAPACITY: usize = 14 + 40 + 60;
const TTL: u8 = 64;

/// The front of a frame, up to its data.
#[derive(Debug)]
pub(crate) struct Header {
    bytes: [u8; CAPACITY],
    len: usize,
}

/// The two ends of an IP packet, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// `None` for two families.
    pub(crate) fn new(source: IpAddr, destination: IpAddr) -> Option<Ends> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Ends::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Ends::V6(source, destination)),
            _ => None,
        }
    }

    pub(crate) fn header_len(self) -> usize {
        match self {
            Ends::V4(..) => 20,
            Ends::V6(..) => 40,
        }
    }

    /// The sum of the pseudo-header.
    pub(crate) fn pseudo(self, protocol: u8, len: usize) -> Checksum {
        match self {
            Ends::V4(source, destination) => {
                Checksum::pseudo(&source.octets(), &destination.octets(), protocol, len)
            }
            Ends::V6(source, destination) => {
                Checksum::pseudo(&source.octets(), &destination.octets(), protocol, len)
            }
        }
    }
}

impl Header {
    pub(crate) fn new(to: Mac, kind: u16) -> Header {
        let mut header = Header {
            bytes: [0; CAPACITY],
            len: 0,
        };
        header.push(&to);
        header.push(&GATEWAY_MAC);
        header.push(&kind.to_be_bytes());
        header
    }

    /// Ethernet and IP before `len` bytes of `protocol`.
    pub(crate) fn ip(to: Mac, ends: Ends, protocol: u8, len: usize) -> Header {
        // A longer packet is not made: `Link::mtu` is below, and so is what a socket gives.
        let bytes = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        match ends {
            Ends::V4(source, destination) => {
                let mut header = Header::new(to, TYPE_IPV4);
                let [high, low] = bytes(20 + len);
                let mut fixed = [0x45, 0, high, low, 0, 0, 0x40, 0, TTL, protocol, 0, 0];
                let sum = Checksum::default().over(&fixed);
                let sum = sum.over(&source.octets()).over(&destination.octets());
                fixed[10..].copy_from_slice(&sum.finish().to_be_bytes());
                header.push(&fixed);
                header.push(&source.octets());
                header.push(&destination.octets());
                header
            }
            Ends::V6(source, destination) => {
                let mut header = Header::new(to, TYPE_IPV6);
                let [high, low] = bytes(len);
                header.push(&[0x60, 0, 0, 0, high, low, protocol, TTL]);
                header.push(&source.octets());
                header.push(&destination.octets());
                header
            }
        }
    }

    /// Neighbour discovery is heard only with this hop limit. Spec: RFC 4861, "Validation".
    pub(crate) fn set_hop_limit(&mut self, limit: u8) {
        self.bytes[14 + 7] = limit;
    }

    /// # Panics
    /// When the headers are longer than headers can be.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A whole frame with `message`, whose checksum stands at `sum_at` and is over `pseudo` where the
/// protocol has that.
pub(crate) fn frame(
    to: Mac,
    ends: Ends,
    protocol: u8,
    message: &mut [u8],
    sum_at: usize,
    pseudo: bool,
) -> Vec<u8> {
    let start = if pseudo {
        ends.pseudo(protocol, message.len())
    } else {
        Checksum::default()
    };
    let sum = start.over(message).finish();
    message[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    let header = Header::ip(to, ends, protocol, message.len());
    [header.bytes(), message].concat()
}
