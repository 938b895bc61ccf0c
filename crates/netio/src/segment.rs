//! Finishes what a sender left undone, for a receiver that cannot: checksums, and cutting large
//! frames into segments. Spec: VIRTIO 1.2, "Network Device", `struct virtio_net_hdr`.

use crate::{
    Checksum, GSO_ECN, GSO_NONE, GSO_TCPV4, MAX_FRAME, NEEDS_CSUM, OffloadHeader, Offloads,
};

const ETHERNET: usize = 14;
const FIN_PSH: u8 = 0x09;

/// Hands out `frame` as frames that need no more than `accepted`, until one is not taken. What does
/// not make sense is dropped. Answers whether all were taken.
pub fn finish(
    mut offload: OffloadHeader,
    frame: &mut [u8],
    accepted: Offloads,
    mut deliver: impl FnMut(OffloadHeader, &[u8]) -> bool,
) -> bool {
    if offload.is_possible(frame.len(), accepted) {
        return deliver(offload, frame);
    }
    offload.gso_type &= !GSO_ECN;
    if offload.gso_type != GSO_NONE {
        return cut(offload, frame, deliver).unwrap_or(true);
    }
    if offload.flags & NEEDS_CSUM != 0 && complete(offload, frame).is_none() {
        return true;
    }
    deliver(OffloadHeader::default(), frame)
}

/// Puts the checksum in.
fn complete(offload: OffloadHeader, frame: &mut [u8]) -> Option<()> {
    let start = usize::from(offload.csum_start);
    let place = start + usize::from(offload.csum_offset);
    let sum = Checksum::default().over(frame.get(start..)?).finish();
    // In UDP, zero would say that there is none.
    let sum = if sum == 0 { 0xffff } else { sum };
    frame
        .get_mut(place..place + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Cuts a frame of TCP. `None` when it is none.
fn cut(
    offload: OffloadHeader,
    frame: &[u8],
    mut deliver: impl FnMut(OffloadHeader, &[u8]) -> bool,
) -> Option<bool> {
    let v4 = offload.gso_type == GSO_TCPV4;
    let transport = usize::from(offload.csum_start);
    let minimum = ETHERNET + if v4 { 20 } else { 40 };
    let header_len = transport + 4 * usize::from(*frame.get(transport + 12)? >> 4);
    let size = usize::from(offload.gso_size);
    let fits = transport >= minimum && header_len >= transport + 20 && header_len <= frame.len();
    if !fits || size == 0 || frame.len() > MAX_FRAME {
        return None;
    }
    let (header, data) = frame.split_at(header_len);
    let sequence = u32::from_be_bytes(*header[transport + 4..].first_chunk()?);
    let count = data.len().div_ceil(size);
    for (index, piece) in data.chunks(size).enumerate() {
        let mut segment = [header, piece].concat();
        let offset = u32::try_from(index * size).ok()?;
        let number = sequence.wrapping_add(offset).to_be_bytes();
        segment[transport + 4..transport + 8].copy_from_slice(&number);
        if index + 1 < count {
            segment[transport + 13] &= !FIN_PSH;
        }
        set_len(&mut segment, v4)?;
        set_checksum(&mut segment, v4, transport)?;
        if !deliver(OffloadHeader::default(), &segment) {
            return Some(false);
        }
    }
    Some(true)
}

fn set_len(segment: &mut [u8], v4: bool) -> Option<()> {
    let len = segment.len() - ETHERNET;
    if v4 {
        let len = u16::try_from(len).ok()?.to_be_bytes();
        segment[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&len);
        segment[ETHERNET + 10..ETHERNET + 12].fill(0);
        let header = ETHERNET + 4 * usize::from(segment[ETHERNET] & 0xf);
        let sum = Checksum::default()
            .over(segment.get(ETHERNET..header)?)
            .finish();
        segment[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        let len = u16::try_from(len.checked_sub(40)?).ok()?.to_be_bytes();
        segment[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&len);
    }
    Some(())
}

fn set_checksum(segment: &mut [u8], v4: bool, transport: usize) -> Option<()> {
    segment.get_mut(transport + 16..transport + 18)?.fill(0);
    let (addresses, len) = if v4 {
        (ETHERNET + 12, 4)
    } else {
        (ETHERNET + 8, 16)
    };
    let source = segment.get(addresses..addresses + len)?;
    let destination = segment.get(addresses + len..addresses + 2 * len)?;
    let body = &segment[transport..];
    let sum = Checksum::pseudo(source, destination, 6, body.len())
        .over(body)
        .finish();
    segment[transport + 16..transport + 18].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
