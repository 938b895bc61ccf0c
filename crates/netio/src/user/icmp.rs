//! Echo for our own addresses, and errors. Spec: RFC 792, RFC 4443.

use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;

use crate::user::header::{Ends, Header, frame};
use crate::user::packet::{ETHERNET, ICMP, ICMPV6, Packet};
use crate::user::plan::{GATEWAY4, GATEWAY6, Mac};

pub(crate) const ECHO_REQUEST4: u8 = 8;
pub(crate) const ECHO_REPLY4: u8 = 0;
pub(crate) const ECHO_REQUEST6: u8 = 128;
pub(crate) const ECHO_REPLY6: u8 = 129;
/// Of the packet that an error is about: the longest header, and the ports.
const QUOTED: usize = 60 + 8;

/// The answer to an echo request to one of our addresses.
pub(crate) fn echo(to: Mac, packet: &Packet<'_>) -> Option<Vec<u8>> {
    let reply = match packet.destination {
        IpAddr::V4(_) => ECHO_REPLY4,
        IpAddr::V6(_) => ECHO_REPLY6,
    };
    let mut message = packet.payload.to_vec();
    *message.first_mut()? = reply;
    message.get_mut(2..4)?.fill(0);
    let ends = Ends::new(packet.destination, packet.source)?;
    Some(message_frame(to, ends, &mut message))
}

/// A frame with an ICMP message, whose checksum is still missing.
pub(crate) fn message_frame(to: Mac, ends: Ends, message: &mut [u8]) -> Vec<u8> {
    match ends {
        Ends::V4(..) => frame(to, ends, ICMP, message, 2, false),
        Ends::V6(..) => frame(to, ends, ICMPV6, message, 2, true),
    }
}

/// Is it for an error message, rather than for the protocol's own way to refuse?
pub(crate) fn is_unreachable(error: Errno) -> bool {
    let refused = [
        Errno::CONNREFUSED,
        Errno::CONNRESET,
        Errno::MFILE,
        Errno::NFILE,
    ];
    !refused.contains(&error)
}

/// Type and code.
fn kind(is_v4: bool, error: Errno) -> [u8; 2] {
    match (is_v4, error) {
        (true, Errno::CONNREFUSED) => [3, 3],
        (true, Errno::NETUNREACH) => [3, 0],
        (true, Errno::ACCESS | Errno::PERM) => [3, 13],
        (true, _) => [3, 1],
        (false, Errno::CONNREFUSED) => [1, 4],
        (false, Errno::NETUNREACH) => [1, 0],
        (false, Errno::ACCESS | Errno::PERM) => [1, 1],
        (false, _) => [1, 3],
    }
}

/// What was in the way of a packet.
pub(crate) fn unreachable(to: Mac, packet: &Packet<'_>, error: Errno) -> Option<Vec<u8>> {
    let quoted = &packet.whole[..packet.whole.len().min(QUOTED)];
    error_frame(to, packet.source, quoted, error)
}

/// Likewise for a flow, whose packets are gone.
pub(crate) fn unreachable_flow(
    to: Mac,
    guest: SocketAddr,
    peer: SocketAddr,
    protocol: u8,
    error: Errno,
) -> Option<Vec<u8>> {
    let mut header = Header::ip(to, Ends::new(guest.ip(), peer.ip())?, protocol, 8);
    header.push(&guest.port().to_be_bytes());
    header.push(&peer.port().to_be_bytes());
    // A UDP datagram's length and no checksum; of a TCP segment, a number that is not known.
    header.push(&[0, 8, 0, 0]);
    error_frame(to, guest.ip(), &header.bytes()[ETHERNET..], error)
}

fn error_frame(to: Mac, guest: IpAddr, quoted: &[u8], error: Errno) -> Option<Vec<u8>> {
    let gateway = match guest {
        IpAddr::V4(_) => GATEWAY4.into(),
        IpAddr::V6(_) => GATEWAY6.into(),
    };
    let ends = Ends::new(gateway, guest)?;
    let mut message = kind(guest.is_ipv4(), error).to_vec();
    message.extend([0; 6]);
    message.extend(quoted);
    Some(message_frame(to, ends, &mut message))
}
