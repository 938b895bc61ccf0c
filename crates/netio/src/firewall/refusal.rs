//! What the sender of a frame is told that was rejected: a reset of TCP, or that an administrator has
//! forbidden it. Spec: RFC 9293 "Reset Generation", RFC 1812 "Destination Unreachable", RFC 4443.

use super::rules::Direction;
use super::sight::{self, Packet, Sight, What};
use crate::user::header::{Ends, frame};
use crate::user::icmp;
use crate::user::packet::{ETHERNET, TCP};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// Of the packet that was rejected: the longest header, and the ports.
const QUOTED: usize = 60 + 8;
const PROHIBITED4: [u8; 2] = [3, 13];
const PROHIBITED6: [u8; 2] = [1, 1];

/// A frame that goes the other way. `None` where nobody is to be told.
pub(super) fn of(direction: Direction, start: &[u8]) -> Option<Vec<u8>> {
    let to_many = start.first()? & 1 != 0;
    let Sight::Packet(packet) = sight::look(direction, start, None) else {
        return None;
    };
    let from_nobody = packet.source.is_unspecified() || packet.source.is_multicast();
    if to_many || from_nobody || matches!(packet.what, What::Error { .. }) {
        return None;
    }
    let sender = *start.get(6..)?.first_chunk::<6>()?;
    let receiver = start.first_chunk::<6>()?;
    let ends = Ends::new(packet.destination, packet.source)?;
    let mut answer = match packet.what {
        What::Tcp {
            source,
            destination,
            ..
        } => {
            let mut message = reset(&packet, start, [destination, source])?;
            frame(sender, ends, TCP, &mut message, 16, true)
        }
        _ => {
            let quoted = start.get(ETHERNET..)?;
            let is_v4 = packet.source.is_ipv4();
            let mut message = if is_v4 { PROHIBITED4 } else { PROHIBITED6 }.to_vec();
            message.extend([0; 6]);
            message.extend(&quoted[..quoted.len().min(QUOTED)]);
            icmp::message_frame(sender, ends, &mut message)
        }
    };
    answer.get_mut(6..12)?.copy_from_slice(receiver);
    Some(answer)
}

fn reset(packet: &Packet, start: &[u8], ports: [u16; 2]) -> Option<Vec<u8>> {
    let header: &[u8; 20] = start.get(packet.at..)?.first_chunk()?;
    let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, flags, ..] = *header;
    if flags & RST != 0 {
        return None;
    }
    let mut message = ports.map(u16::to_be_bytes).concat();
    if flags & ACK != 0 {
        message.extend([a0, a1, a2, a3, 0, 0, 0, 0, 5 << 4, RST]);
    } else {
        let taken = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let next = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(taken);
        message.extend([0; 4]);
        message.extend(next.to_be_bytes());
        message.extend([5 << 4, RST | ACK]);
    }
    message.extend([0; 6]);
    Some(message)
}
