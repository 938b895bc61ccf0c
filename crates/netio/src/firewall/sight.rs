//! What a frame is, as far as its first bytes tell. Every field is somebody's word.
//! Spec: RFC 791, RFC 8200 "IPv6 Extension Headers", RFC 792, RFC 4443, RFC 4861, RFC 2131.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::rules::Direction;
use crate::user::Subnet;
use crate::user::packet::{ETHERNET, ICMP, ICMPV6, TCP, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, UDP, word};

/// More extension headers than anybody needs.
const MAX_HEADERS: usize = 8;
const FRAGMENT: u8 = 44;
const SYN: u8 = 2;
const ACK: u8 = 16;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// How addresses are found out and handed out on this link.
    Needed,
    Packet(Packet),
    /// A later piece of a packet, which does not tell its ports.
    Piece(Piece),
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) what: What,
    /// It is the first piece of more.
    pub(super) piece: Option<Piece>,
    /// Where its transport's header is in the frame.
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Tcp {
        source: u16,
        destination: u16,
        opens: bool,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    Echo {
        number: u16,
        request: bool,
    },
    /// An ICMP error; `about` is the packet that it quotes, where that can be told.
    Error {
        about: Option<Quoted>,
    },
    Other {
        protocol: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quoted {
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Which packet a piece is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    source: IpAddr,
    destination: IpAddr,
    number: u32,
}

/// An IP header, with its extensions.
struct Ip {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Bytes before what is carried.
    len: usize,
    number: Option<u32>,
    offset: u16,
}

pub(super) fn look(direction: Direction, frame: &[u8], link: Option<Subnet>) -> Sight {
    let bytes = frame.get(ETHERNET..).unwrap_or_default();
    let ip = match word(frame, 12) {
        Some(TYPE_ARP) => return Sight::Needed,
        Some(TYPE_IPV4) => ipv4(bytes),
        Some(TYPE_IPV6) => ipv6(bytes),
        _ => None,
    };
    ip.and_then(|ip| packet(direction, &ip, bytes, link))
        .unwrap_or(Sight::Unknown)
}

fn packet(direction: Direction, ip: &Ip, bytes: &[u8], link: Option<Subnet>) -> Option<Sight> {
    let piece = ip.number.map(|number| Piece {
        source: ip.source,
        destination: ip.destination,
        number,
    });
    if ip.offset != 0 {
        // One that lies over the first one's header could change what that said.
        return (ip.offset >= 8).then_some(Sight::Piece(piece?));
    }
    let payload = bytes.get(ip.len..)?;
    if piece.is_none() && is_needed(direction, ip, payload, link) {
        return Some(Sight::Needed);
    }
    Some(Sight::Packet(Packet {
        source: ip.source,
        destination: ip.destination,
        what: what(ip, payload)?,
        piece,
        at: ETHERNET + ip.len,
    }))
}

/// `None` for what tells less than it must.
fn what(ip: &Ip, payload: &[u8]) -> Option<What> {
    let number = || word(payload, 4);
    let is_v4 = ip.source.is_ipv4();
    Some(match (ip.protocol, payload.first()) {
        (TCP, _) => What::Tcp {
            source: word(payload, 0)?,
            destination: word(payload, 2)?,
            opens: payload.get(13)? & (SYN | ACK) == SYN,
        },
        (UDP, _) => What::Udp {
            source: word(payload, 0)?,
            destination: word(payload, 2)?,
        },
        (ICMP, Some(8)) if is_v4 => What::Echo {
            number: number()?,
            request: true,
        },
        (ICMP, Some(0)) if is_v4 => What::Echo {
            number: number()?,
            request: false,
        },
        (ICMPV6, Some(128)) if !is_v4 => What::Echo {
            number: number()?,
            request: true,
        },
        (ICMPV6, Some(129)) if !is_v4 => What::Echo {
            number: number()?,
            request: false,
        },
        (ICMP, Some(3 | 11 | 12)) if is_v4 => What::Error {
            about: quoted(payload.get(8..)?, true),
        },
        (ICMPV6, Some(1..=4)) if !is_v4 => What::Error {
            about: quoted(payload.get(8..)?, false),
        },
        (protocol, _) => What::Other { protocol },
    })
}

fn quoted(bytes: &[u8], is_v4: bool) -> Option<Quoted> {
    let ip = if is_v4 { ipv4(bytes)? } else { ipv6(bytes)? };
    let inner = bytes.get(ip.len..)?;
    let (protocol, source, destination) = match what(
        &Ip {
            protocol: ip.protocol,
            ..ip
        },
        inner,
    ) {
        _ if matches!(ip.protocol, TCP | UDP) => (ip.protocol, word(inner, 0)?, word(inner, 2)?),
        Some(What::Echo { number, .. }) => (ICMP, number, number),
        Some(What::Other { protocol }) => (protocol, 0, 0),
        _ => return None,
    };
    Some(Quoted {
        protocol,
        source: SocketAddr::new(ip.source, source),
        destination: SocketAddr::new(ip.destination, destination),
    })
}

fn ipv4(bytes: &[u8]) -> Option<Ip> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let len = 4 * usize::from(header[0] & 0xf);
    if header[0] >> 4 != 4 || len < header.len() {
        return None;
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let flags = word(header, 6)?;
    let is_piece = flags & 0x3fff != 0;
    Some(Ip {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol: header[9],
        len,
        number: word(header, 4).filter(|_| is_piece).map(u32::from),
        offset: (flags & 0x1fff).saturating_mul(8),
    })
}

fn ipv6(bytes: &[u8]) -> Option<Ip> {
    let header: &[u8; 40] = bytes.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?))
    };
    let mut ip = Ip {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        protocol: header[6],
        len: header.len(),
        number: None,
        offset: 0,
    };
    for _ in 0..MAX_HEADERS {
        let extension = |at: usize| bytes.get(ip.len + at).copied();
        let len = match ip.protocol {
            0 | 43 | 60 => 8 * (1 + usize::from(extension(1)?)),
            // An authentication header counts otherwise.
            51 => 4 * (2 + usize::from(extension(1)?)),
            FRAGMENT => {
                let number: &[u8; 4] = bytes.get(ip.len + 4..)?.first_chunk()?;
                ip.number = Some(u32::from_be_bytes(*number));
                ip.offset = word(bytes, ip.len + 2)? & 0xfff8;
                8
            }
            _ => return Some(ip),
        };
        ip.protocol = extension(0)?;
        ip.len += len;
        if ip.offset != 0 {
            return Some(ip);
        }
    }
    None
}

/// Is it needed to have addresses at all? Nothing of it may lead further than the guest's link.
fn is_needed(direction: Direction, ip: &Ip, payload: &[u8], link: Option<Subnet>) -> bool {
    let is_near = match ip.destination {
        IpAddr::V4(to) => to.is_broadcast() || link.is_some_and(|link| to == link.gateway()),
        IpAddr::V6(to) => {
            let on_link = [0xff02, 0xff01].contains(&to.segments()[0]);
            on_link || to.is_unicast_link_local()
        }
    };
    let ports = || Some([word(payload, 0)?, word(payload, 2)?]);
    match (ip.protocol, ip.destination, payload.first()) {
        (UDP, IpAddr::V4(_), _) => match direction {
            Direction::Out => is_near && ports() == Some([68, 67]),
            Direction::In => ports() == Some([67, 68]),
        },
        (UDP, IpAddr::V6(_), _) => is_near && matches!(ports(), Some([546, 547] | [547, 546])),
        // Neighbours ask each other by their own addresses as well. Where nobody knows which those are, only
        // what comes is surely of the link.
        (ICMPV6, to, Some(135 | 136)) => {
            let is_neighbour = match link {
                Some(link) => link.contains(to),
                None => direction == Direction::In,
            };
            is_near || is_neighbour
        }
        (ICMPV6, _, Some(130..=134 | 137 | 143)) => is_near,
        _ => false,
    }
}
