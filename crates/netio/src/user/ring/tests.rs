use std::convert::Infallible;

use super::{ByteRing, FIRST};

const LIMIT: usize = 4 * FIRST;

fn whole(ring: &ByteRing) -> Vec<u8> {
    ring.slices(0, ring.len()).concat()
}

#[test]
fn what_goes_in_comes_out_in_order() {
    let mut ring = ByteRing::default();
    let mut expected = Vec::new();
    let mut next = 0u8;
    for round in 0..2000usize {
        let bytes: Vec<u8> = (0..round * 37 % 5000)
            .map(|_| {
                next = next.wrapping_mul(5).wrapping_add(1);
                next
            })
            .collect();
        let taken = ring.push(&bytes, LIMIT);
        assert_eq!(taken, bytes.len().min(LIMIT - expected.len()));
        expected.extend_from_slice(&bytes[..taken]);
        let gone = (round * 53 % 6000).min(expected.len());
        ring.consume(gone);
        expected.drain(..gone);
        assert!(whole(&ring) == expected, "round {round}");
        if let Some(middle) = expected.len().checked_sub(20) {
            assert!(ring.slices(middle, 20).concat() == expected[middle..]);
        }
    }
}

#[test]
fn filling_grows_it_to_its_limit() {
    let mut ring = ByteRing::default();
    let mut count = 0;
    while let Some(got) = ring.fill(LIMIT, |parts| {
        let room = parts.iter().map(|part| part.len()).sum();
        parts[0].fill(7);
        Ok::<usize, Infallible>(room)
    }) {
        count += got.unwrap();
    }
    assert_eq!((count, ring.len()), (LIMIT, LIMIT));
    assert_eq!(ring.push(&[1], LIMIT), 0);
    ring.consume(LIMIT);
    ring.rest();
    assert_eq!(ring.bytes.capacity(), 0);
}

#[test]
fn a_smaller_limit_is_kept_by_a_ring_that_was_larger() {
    let mut ring = ByteRing::default();
    ring.push(&vec![1; LIMIT], LIMIT);
    ring.consume(LIMIT - 10);
    assert!(ring.fill(10, |_| Ok::<usize, Infallible>(0)).is_none());
    assert_eq!(ring.push(&[0; 100], 50), 40);
}
