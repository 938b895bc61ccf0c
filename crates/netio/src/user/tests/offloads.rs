//! Large frames, unfinished checksums, and what is sent again.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::hostile::{ACK, frames, link, opened, send};
use super::pattern;
use crate::{Checksum, GSO_TCPV4, Link, NEEDS_CSUM, OffloadHeader, Offloads};

const ALL: Offloads = Offloads {
    checksum: true,
    tso4: true,
    tso6: true,
    ecn: true,
};
const HEADERS: usize = 14 + 20 + 20;

#[test]
fn a_large_segment_of_the_guest_is_one_write() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = link(true);
    let tcp = opened(
        &mut link,
        listener.local_addr().unwrap().port(),
        &[3, 3, 7, 0],
    );
    let bytes = pattern(60_000);
    let offload = OffloadHeader {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    link.send(&offload, &tcp.segment(ACK, &[], &bytes));
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == bytes);
}

#[test]
fn the_guest_gets_large_segments_if_it_can_cut_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for offloads in [ALL, Offloads::NONE] {
        let mut link = link(true);
        link.accept(offloads);
        // A maximum segment of 1460 bytes, windows by 128.
        let options = [2, 4, 5, 180, 3, 3, 7, 0];
        let tcp = opened(&mut link, listener.local_addr().unwrap().port(), &options);
        send(&mut link, &tcp.segment(ACK, &[], &[]));
        let (mut stream, _) = listener.accept().unwrap();
        let bytes = pattern(100_000);
        stream.write_all(&bytes).unwrap();
        let mut got = Vec::new();
        let mut longest = 0;
        while got.len() < bytes.len() {
            for (offload, frame) in frames(&mut link) {
                check(offload, &frame, offloads);
                got.extend_from_slice(&frame[HEADERS..]);
                longest = longest.max(frame.len() - HEADERS);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(got == bytes);
        assert_eq!(longest > 1460, offloads.tso4, "{longest}");
    }
}

/// Is the frame what its header says?
fn check(offload: OffloadHeader, frame: &[u8], offloads: Offloads) {
    let segment = &frame[34..];
    let start = Checksum::pseudo(&frame[26..30], &frame[30..34], 6, segment.len());
    if offloads.checksum {
        assert!(offload.is_possible(frame.len(), offloads));
        let partial = u16::from_be_bytes([segment[16], segment[17]]);
        assert_eq!(partial, start.partial());
    } else {
        assert_eq!(offload, OffloadHeader::default());
        assert_eq!(start.over(segment).finish(), 0);
    }
    assert_eq!(Checksum::default().over(&frame[14..34]).finish(), 0);
}

#[test]
fn what_the_guest_lost_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = link(true);
    let mut tcp = opened(&mut link, listener.local_addr().unwrap().port(), &[]);
    send(&mut link, &tcp.segment(ACK, &[], &[]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"lost and found").unwrap();
    let wait_for_data = |link: &mut crate::UserLink| loop {
        let got = frames(link);
        if let Some((_, frame)) = got.into_iter().find(|(_, frame)| frame.len() > HEADERS) {
            return frame[HEADERS..].to_vec();
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(wait_for_data(&mut link), b"lost and found");
    assert!(frames(&mut link).is_empty());
    // Three times the same acknowledgement.
    for _ in 0..3 {
        send(&mut link, &tcp.segment(ACK, &[], &[]));
    }
    assert_eq!(wait_for_data(&mut link), b"lost and found");
    // Time passes.
    link.world.now += Duration::from_secs(2);
    link.tick();
    assert_eq!(wait_for_data(&mut link), b"lost and found");
    tcp.acknowledged = tcp.acknowledged.wrapping_add(14);
    send(&mut link, &tcp.segment(ACK, &[], &[]));
    link.world.now += Duration::from_secs(60);
    link.tick();
    assert!(frames(&mut link).is_empty());
}

#[test]
fn a_shut_window_is_asked_about() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = link(true);
    let mut tcp = opened(&mut link, listener.local_addr().unwrap().port(), &[]);
    tcp.window = 0;
    send(&mut link, &tcp.segment(ACK, &[], &[]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"patience").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(frames(&mut link).is_empty());
    link.world.now += Duration::from_secs(2);
    link.tick();
    let probe = frames(&mut link);
    assert_eq!(&probe[0].1[HEADERS..], b"p");
    tcp.window = 1000;
    send(&mut link, &tcp.segment(ACK, &[], &[]));
    tcp.acknowledged = tcp.acknowledged.wrapping_add(1);
    send(&mut link, &tcp.segment(ACK, &[], &[]));
    let rest: Vec<u8> = frames(&mut link)
        .iter()
        .flat_map(|(_, frame)| frame[HEADERS..].to_vec())
        .collect();
    assert_eq!(rest, b"atience");
}
