//! Neighbour discovery and the router's advertisements, by which a guest makes up its addresses.
//! Spec: RFC 4861, RFC 4862; RFC 8106 for the resolver.

use std::net::{IpAddr, Ipv6Addr};

use crate::user::header::{Ends, Header};
use crate::user::packet::{ICMPV6, Packet};
use crate::user::plan::{
    ALL_NODES_MAC, ALL_NODES6, GATEWAY_MAC, Mac, RESOLVER6, ROUTER6, Subnet, is_own,
};

pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const HOPS: u8 = 255;
/// Seconds that we are a router for, if not told again; far above the time between two tellings.
const LIFETIME: u16 = 9000;
/// On-link, and for making up addresses.
const PREFIX_FLAGS: u8 = 0xc0;
const FOR_EVER: [u8; 4] = [0xff; 4];
/// Router, solicited, override.
const ROUTER_ANSWERS: u8 = 0xe0;

/// Answers "who has this address?" for ours.
pub(super) fn neighbour(from: Mac, packet: &Packet<'_>) -> Option<Vec<u8>> {
    let target = Ipv6Addr::from(*packet.payload.get(8..)?.first_chunk::<16>()?);
    let IpAddr::V6(asker) = packet.source else {
        return None;
    };
    // Without an address, the guest asks whether it may have this one.
    if !is_own(target.into()) || asker.is_unspecified() {
        return None;
    }
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, ROUTER_ANSWERS, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(GATEWAY_MAC);
    Some(frame(from, Ends::V6(target, asker), message))
}

/// What a guest needs to know of us. `routes` when there is a way to the rest of the world.
pub(super) fn advertisement(subnet: Subnet, mtu: u16, routes: bool) -> Vec<u8> {
    let lifetime = if routes { LIFETIME } else { 0 };
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0];
    message.extend(lifetime.to_be_bytes());
    message.extend([0; 8]);
    message.extend([1, 1]);
    message.extend(GATEWAY_MAC);
    message.extend([5, 1, 0, 0, 0, 0]);
    message.extend(mtu.to_be_bytes());
    message.extend([3, 4, 64, PREFIX_FLAGS]);
    message.extend([FOR_EVER, FOR_EVER, [0; 4]].concat());
    message.extend(subnet.v6.octets());
    message.extend([25, 3, 0, 0]);
    message.extend(FOR_EVER);
    message.extend(RESOLVER6.octets());
    frame(ALL_NODES_MAC, Ends::V6(ROUTER6, ALL_NODES6), message)
}

fn frame(to: Mac, ends: Ends, mut message: Vec<u8>) -> Vec<u8> {
    let sum = ends.pseudo(ICMPV6, message.len()).over(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut header = Header::ip(to, ends, ICMPV6, message.len());
    header.set_hop_limit(HOPS);
    [header.bytes(), &message[..]].concat()
}
