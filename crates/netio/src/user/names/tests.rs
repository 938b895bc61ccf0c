#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::net::Ipv4Addr;

use super::answer;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);

fn query(labels: &[&str], kind: u8) -> Vec<u8> {
    let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    query
}

fn find(name: &str) -> Option<Ipv4Addr> {
    (name == "web1").then_some(ADDRESS)
}

#[test]
fn guests_have_addresses() {
    for labels in [&["web1"][..], &["WEB1", "inn"]] {
        let query = query(labels, 1);
        let got = answer(&query, find).unwrap();
        assert_eq!(got[..12], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(got[12..query.len()], query[12..]);
        assert_eq!(got[got.len() - 6..], [0, 4, 10, 0, 2, 16]);
    }
    let of_version_6 = answer(&query(&["web1"], 28), find).unwrap();
    assert_eq!(
        of_version_6[6..8],
        [0, 0],
        "there is the name, but no such address"
    );
}

#[test]
fn all_else_is_the_resolver_s() {
    for labels in [&["web2"][..], &["web1", "org"], &["a", "web1", "inn"], &[]] {
        assert_eq!(answer(&query(labels, 1), find), None, "{labels:?}");
    }
    let whole = query(&["web1"], 1);
    for len in 0..whole.len() {
        assert_eq!(answer(&whole[..len], find), None);
    }
    let mut by_reference = whole.clone();
    by_reference[12] = 0xc0;
    assert_eq!(answer(&by_reference, find), None);
}
