//! Answers for our IPv4 addresses. Spec: RFC 826.

use std::net::Ipv4Addr;

use crate::user::header::Header;
use crate::user::packet::TYPE_ARP;
use crate::user::plan::{GATEWAY_MAC, is_own};

/// Ethernet and IPv4, request.
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];

pub(super) fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = message.split_first_chunk::<8>()?;
    let (sender, rest) = rest.split_first_chunk::<6>()?;
    let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
    let target = rest.get(6..)?.first_chunk::<4>()?;
    if *kind != REQUEST || !is_own(Ipv4Addr::from(*target).into()) {
        return None;
    }
    let mut frame = Header::new(*sender, TYPE_ARP);
    frame.push(&REPLY);
    frame.push(&GATEWAY_MAC);
    frame.push(target);
    frame.push(sender);
    frame.push(sender_ip);
    Some(frame.bytes().to_vec())
}
