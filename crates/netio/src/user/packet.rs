//! What a frame from the guest says: Ethernet and IP. Every field is the guest's word.
//! Spec: RFC 894, RFC 791, RFC 8200.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::user::plan::Mac;

pub(crate) const ETHERNET: usize = 14;
pub(crate) const TYPE_IPV4: u16 = 0x0800;
pub(crate) const TYPE_ARP: u16 = 0x0806;
pub(crate) const TYPE_IPV6: u16 = 0x86dd;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

#[derive(Debug)]
pub(crate) struct Ethernet<'a> {
    pub(crate) source: Mac,
    pub(crate) kind: u16,
    pub(crate) payload: &'a [u8],
}

pub(crate) fn ethernet(frame: &[u8]) -> Option<Ethernet<'_>> {
    let (header, payload) = frame.split_first_chunk::<ETHERNET>()?;
    let &[_, _, _, _, _, _, s0, s1, s2, s3, s4, s5, t0, t1] = header;
    Some(Ethernet {
        source: [s0, s1, s2, s3, s4, s5],
        kind: u16::from_be_bytes([t0, t1]),
        payload,
    })
}

/// An IP packet that is no fragment.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
    /// Header and payload, to quote in an error.
    pub(crate) whole: &'a [u8],
}

/// `None` for what is damaged, and for fragments: the card's MTU makes none necessary.
pub(crate) fn ip(kind: u16, bytes: &[u8]) -> Option<Packet<'_>> {
    match kind {
        TYPE_IPV4 => ipv4(bytes),
        TYPE_IPV6 => ipv6(bytes),
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let header_len = 4 * usize::from(header[0] & 0xf);
    let len = usize::from(word(header, 2)?);
    if header[0] >> 4 != 4 || header_len < header.len() || len < header_len {
        return None;
    }
    let whole = bytes.get(..len)?;
    // "More fragments", and the offset of this one.
    if word(header, 6)? & 0x3fff != 0 {
        return None;
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    Some(Packet {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol: header[9],
        payload: &whole[header_len..],
        whole,
    })
}

fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let header: &[u8; 40] = bytes.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let len = header.len() + usize::from(word(header, 4)?);
    let whole = bytes.get(..len)?;
    let address = |at: usize| -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?))
    };
    Some(Packet {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        protocol: header[6],
        payload: &whole[header.len()..],
        whole,
    })
}

/// The big-endian 16 bits at an offset.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
