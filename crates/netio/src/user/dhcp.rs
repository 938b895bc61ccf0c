//! A DHCP server with one address to give. Spec: RFC 2131, RFC 2132.

use std::net::Ipv4Addr;

use crate::user::NetworkBoot;
use crate::user::header::{Ends, frame};
use crate::user::packet::UDP;
use crate::user::plan::{MASK4, Mac, RESOLVER4, Subnet};

pub(super) const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Before the options.
const FIXED: usize = 236;
/// The class of clients that boot from the network. Spec: PXE 2.1, "DHCP Discover".
const FIRMWARE: &[u8] = b"PXEClient";
/// Where the name of the file to boot stands.
const FILE: usize = 108;
const FILE_LEN: usize = 128;
/// Shorter answers are not heard by some clients. Spec: RFC 1542, "Client behaviour".
const MIN_LEN: usize = 300;
const LEASE_SECONDS: u32 = 24 * 3600;
const ETHERNET_MTU: u16 = 1500;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) lent: Ipv4Addr,
    pub(super) subnet: Subnet,
    pub(super) mtu: u16,
    pub(super) boot: Option<&'a NetworkBoot>,
}

/// The frame that answers a message to [`SERVER_PORT`], if it has an answer.
pub(super) fn answer(message: &[u8], offer: &Offer<'_>) -> Option<Vec<u8>> {
    let (lent, subnet) = (offer.lent, offer.subnet);
    let fixed: &[u8; FIXED] = message.first_chunk()?;
    let options = message.get(FIXED..)?.strip_prefix(&COOKIE)?;
    let (is_request, is_ethernet) = (fixed[0] == 1, fixed[1..3] == [1, 6]);
    if !is_request || !is_ethernet {
        return None;
    }
    let own = |value: &[u8]| value == lent.octets();
    let server = option(options, 54);
    let kind = match *option(options, 53)?.first()? {
        DISCOVER => OFFER,
        INFORM => ACK,
        // Another server's offer was taken.
        REQUEST if server.is_some_and(|server| server != subnet.gateway().octets()) => return None,
        // By option where the client asks anew, by field where it renews.
        REQUEST if option(options, 50).map_or_else(|| own(&fixed[12..16]), own) => ACK,
        REQUEST => NAK,
        _ => return None,
    };
    let informs = option(options, 53) == Some(&[INFORM]);
    let lent = (!informs).then_some(lent);
    Some(reply(fixed, options, kind, lent, offer))
}

/// The value of an option. Spec: RFC 2132, "BOOTP Extension/DHCP Option Field Format".
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match *options.first()? {
            0 => options = &options[1..],
            255 => return None,
            code => {
                let len = usize::from(*options.get(1)?);
                let value = options.get(2..2 + len)?;
                if code == wanted {
                    return Some(value);
                }
                options = &options[2 + len..];
            }
        }
    }
}

fn reply(
    request: &[u8; FIXED],
    options: &[u8],
    kind: u8,
    lent: Option<Ipv4Addr>,
    offer: &Offer<'_>,
) -> Vec<u8> {
    let gateway = offer.subnet.gateway();
    let boot = offer.boot.filter(|_| kind != NAK);
    let mut reply = request.to_vec();
    reply[0] = 2;
    reply[8..10].fill(0); // seconds
    if let Some(lent) = lent.filter(|_| kind != NAK) {
        reply[16..20].copy_from_slice(&lent.octets());
    }
    reply[20..28].fill(0); // the next server, the relay
    reply[44..].fill(0); // names
    if let Some(boot) = boot {
        if boot.directory.is_some() {
            reply[20..24].copy_from_slice(&gateway.octets());
        }
        // One that is longer comes by option only.
        if let Some(place) = reply.get_mut(FILE..FILE + boot.file.len())
            && boot.file.len() < FILE_LEN
        {
            place.copy_from_slice(boot.file.as_bytes());
        }
    }
    reply.extend(COOKIE);
    reply.extend([53, 1, kind]);
    let mut put = |code: u8, value: &[u8]| {
        reply.push(code);
        reply.push(u8::try_from(value.len()).unwrap_or(0));
        reply.extend(value);
    };
    put(54, &gateway.octets());
    if kind != NAK {
        if lent.is_some() {
            put(51, &LEASE_SECONDS.to_be_bytes());
        }
        put(1, &MASK4.octets());
        put(3, &gateway.octets());
        put(6, &RESOLVER4.octets());
        // Firmware has its own idea of frames; iPXE takes a large number for a negative one.
        let class = option(options, 60).unwrap_or_default();
        if offer.mtu != ETHERNET_MTU && !class.starts_with(FIRMWARE) {
            put(26, &offer.mtu.to_be_bytes());
        }
        let asked = option(options, 55).unwrap_or_default();
        if let Some(boot) = boot {
            if boot.directory.is_some() && asked.contains(&66) {
                put(66, gateway.to_string().as_bytes());
            }
            if asked.contains(&67) {
                put(67, boot.file.as_bytes());
            }
        }
    }
    reply.push(255);
    reply.resize(reply.len().max(MIN_LEN), 0);
    datagram(request, &reply, gateway)
}

fn datagram(request: &[u8; FIXED], reply: &[u8], gateway: Ipv4Addr) -> Vec<u8> {
    let client: Mac = *request[28..].first_chunk().unwrap_or(&[0xff; 6]);
    let mut message = SERVER_PORT.to_be_bytes().to_vec();
    message.extend(CLIENT_PORT.to_be_bytes());
    message.extend(u16::try_from(8 + reply.len()).unwrap_or(0).to_be_bytes());
    message.extend([0, 0]);
    message.extend(reply);
    let ends = Ends::V4(gateway, Ipv4Addr::BROADCAST);
    frame(client, ends, UDP, &mut message, 6, true)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test values are small")]
mod tests;
