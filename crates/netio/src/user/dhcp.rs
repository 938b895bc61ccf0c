//! A DHCP server with one address to give. Spec: RFC 2131, RFC 2132.

use std::net::Ipv4Addr;

use crate::user::header::{Ends, frame};
use crate::user::packet::UDP;
use crate::user::plan::{MASK4, Mac, RESOLVER4, Subnet};

pub(super) const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Before the options.
const FIXED: usize = 236;
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

/// The frame that answers a message to [`SERVER_PORT`], if it has an answer.
pub(super) fn answer(message: &[u8], lent: Ipv4Addr, subnet: Subnet, mtu: u16) -> Option<Vec<u8>> {
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
    Some(reply(fixed, kind, lent, subnet, mtu))
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
    kind: u8,
    lent: Option<Ipv4Addr>,
    subnet: Subnet,
    mtu: u16,
) -> Vec<u8> {
    let gateway = subnet.gateway();
    let mut reply = request.to_vec();
    reply[0] = 2;
    reply[8..10].fill(0); // seconds
    if let Some(lent) = lent.filter(|_| kind != NAK) {
        reply[16..20].copy_from_slice(&lent.octets());
    }
    reply[20..28].fill(0); // the next server, the relay
    reply[44..].fill(0); // names
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
        if mtu != ETHERNET_MTU {
            put(26, &mtu.to_be_bytes());
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
