#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use super::finish;
use crate::{Checksum, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, OffloadHeader, Offloads};

fn frame(v4: bool, data: usize) -> (OffloadHeader, Vec<u8>) {
    let mut frame = vec![2; 12];
    let transport = if v4 { 34 } else { 54 };
    if v4 {
        frame.extend([
            8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 16,
        ]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame.extend([0xfd; 32]);
    }
    assert_eq!(frame.len(), transport);
    frame.extend([
        0,
        1,
        0,
        2,
        0xff,
        0xff,
        0xff,
        0xf0,
        0,
        0,
        0,
        9,
        5 << 4,
        0x19,
        1,
        0,
        0,
        0,
        0,
        0,
    ]);
    frame.extend((0..data).map(|at| at as u8));
    let offload = OffloadHeader {
        flags: NEEDS_CSUM,
        gso_type: if v4 { GSO_TCPV4 } else { GSO_TCPV6 },
        hdr_len: (transport + 20) as u16,
        gso_size: 1000,
        csum_start: transport as u16,
        csum_offset: 16,
    };
    (offload, frame)
}

#[test]
fn segments_are_whole_and_follow_each_other() {
    for v4 in [true, false] {
        let (offload, mut frame) = frame(v4, 2500);
        let headers = frame.len() - 2500;
        let transport = headers - 20;
        let mut got = Vec::new();
        let mut flags = Vec::new();
        assert!(finish(
            offload,
            &mut frame.clone(),
            Offloads::NONE,
            |offload, segment| {
                assert_eq!(offload, OffloadHeader::default());
                let sequence =
                    u32::from_be_bytes(segment[transport + 4..][..4].try_into().unwrap());
                assert_eq!(sequence, 0xffff_fff0u32.wrapping_add(got.len() as u32));
                let (from, len) = if v4 { (26, 4) } else { (22, 16) };
                let body = &segment[transport..];
                let (source, destination) = segment[from..from + 2 * len].split_at(len);
                let sum = Checksum::pseudo(source, destination, 6, body.len()).over(body);
                assert_eq!(sum.finish(), 0);
                let told = if v4 { (16, 14) } else { (18, 54) };
                let said = u16::from_be_bytes([segment[told.0], segment[told.0 + 1]]);
                assert_eq!(usize::from(said), segment.len() - told.1);
                flags.push(segment[transport + 13]);
                got.extend_from_slice(&segment[headers..]);
                true
            }
        ));
        assert!(got == frame.split_off(headers));
        assert_eq!(flags, [0x10, 0x10, 0x19]);
    }
}

#[test]
fn a_checksum_is_put_in() {
    let (mut offload, mut frame) = frame(true, 101);
    offload.gso_type = 0;
    let body = frame[34..].len();
    let partial = Checksum::pseudo(&[10, 0, 2, 15], &[10, 0, 2, 16], 6, body).partial();
    frame[50..52].copy_from_slice(&partial.to_be_bytes());
    finish(offload, &mut frame, Offloads::NONE, |_, frame| {
        let sum = Checksum::pseudo(&[10, 0, 2, 15], &[10, 0, 2, 16], 6, body).over(&frame[34..]);
        assert_eq!(sum.finish(), 0);
        true
    });
}

#[test]
fn nonsense_is_dropped() {
    let (offload, whole) = frame(true, 3000);
    for len in 0..80 {
        finish(
            offload,
            &mut whole[..len].to_vec(),
            Offloads::NONE,
            |_, _| true,
        );
        let mut damaged = whole.clone();
        damaged[len] = 0xff;
        finish(offload, &mut damaged, Offloads::NONE, |_, _| true);
    }
    for start in [0, 13, 3000, u16::MAX] {
        let wrong = OffloadHeader {
            csum_start: start,
            ..offload
        };
        finish(wrong, &mut whole.clone(), Offloads::NONE, |_, _| true);
        let wrong = OffloadHeader {
            gso_type: 0,
            ..wrong
        };
        finish(wrong, &mut whole.clone(), Offloads::NONE, |_, _| true);
    }
}
