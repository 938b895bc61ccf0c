//! What the card does to a frame of the guest's, or leaves to whoever carries it on: checksums, and cutting.
//! Spec: the manual's "TCP Segmentation", "IP/TCP/UDP Transmit Checksum Offloading".

use netio::{Checksum, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, OffloadHeader};

use super::state::{Context, Pending};

/// Bytes of the smallest segment that a packet is cut into: no driver asks for less (Linux's
/// `TCP_MIN_SND_MSS`), and each is work.
const LEAST_SEGMENT: u16 = 48;

/// Answers what is left to do; `None` for a frame that makes no sense.
pub(super) fn apply(pending: &mut Pending, context: &Context) -> Option<OffloadHeader> {
    if let Some((from, at)) = pending.legacy_sum {
        insert(&mut pending.bytes, from.into(), None, at.into());
    }
    let mut left = OffloadHeader::default();
    let segment = pending.segment && context.tcp;
    if segment {
        set_lengths(&mut pending.bytes, context)?;
    }
    if pending.insert_ip {
        let end = (context.ip_end != 0).then_some(usize::from(context.ip_end) + 1);
        let (from, at) = (context.ip_start.into(), context.ip_sum.into());
        if segment {
            pending.bytes.get_mut(at..at + 2)?.fill(0);
        }
        insert(&mut pending.bytes, from, end, at);
    }
    if segment {
        left.gso_size = context.segment;
        left.hdr_len = context.header_len.into();
        let data = pending.bytes.len().checked_sub(left.hdr_len.into())?;
        left.gso_type = match (data > left.gso_size.into(), context.v4) {
            (false, _) => GSO_NONE,
            (true, true) => GSO_TCPV4,
            (true, false) => GSO_TCPV6,
        };
        if left.gso_size == 0 || left.gso_type != GSO_NONE && left.gso_size < LEAST_SEGMENT {
            return None;
        }
    }
    if segment || pending.insert_transport {
        let (from, at) = (usize::from(context.start), usize::from(context.sum));
        if context.end == 0 {
            left.flags = NEEDS_CSUM;
            left.csum_start = context.start.into();
            left.csum_offset = u16::try_from(at.checked_sub(from)?).ok()?;
        } else {
            let end = Some(usize::from(context.end) + 1);
            insert(&mut pending.bytes, from, end, at);
        }
    }
    Some(left)
}

/// Puts the sum of the bytes from `from` up to `end`, or to the end of all, to `at`. What lies outside of the
/// frame is not done.
fn insert(bytes: &mut [u8], from: usize, end: Option<usize>, at: usize) {
    let end = end.unwrap_or(bytes.len()).min(bytes.len());
    let Some(summed) = bytes.get(from..end) else {
        return;
    };
    let sum = Checksum::default().over(summed).finish();
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

/// The driver leaves the lengths out of a frame to cut, since each segment has its own. Whoever takes it as a
/// whole goes by them.
fn set_lengths(bytes: &mut [u8], context: &Context) -> Option<()> {
    let (ip, transport) = (usize::from(context.ip_start), usize::from(context.start));
    let (place, len) = if context.v4 {
        (ip + 2, bytes.len().checked_sub(ip)?)
    } else {
        (ip + 4, bytes.len().checked_sub(ip + 40)?)
    };
    let len = u16::try_from(len).ok()?;
    bytes
        .get_mut(place..place + 2)?
        .copy_from_slice(&len.to_be_bytes());
    // The sum over the pseudo-header lacks its length.
    let len = u32::try_from(bytes.len().checked_sub(transport)?).ok()?;
    let at = usize::from(context.sum);
    let sum = u32::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)) + len;
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = ((folded & 0xffff) + (folded >> 16)) as u16;
    bytes
        .get_mut(at..at + 2)?
        .copy_from_slice(&folded.to_be_bytes());
    Some(())
}
