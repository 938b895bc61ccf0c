use std::net::Ipv6Addr;

use super::*;

const MAC: Mac = [2, 0, 0, 0, 0, 7];
const OTHER: Mac = [2, 0, 0, 0, 0, 8];
const EVERYBODY: Mac = [0x33, 0x33, 0, 0, 0, 1];

fn identity() -> Identity {
    let lease = Lease {
        name: "web".into(),
        last: 16,
        mac: MAC,
    };
    let subnet = Subnet {
        v4: [10, 105, 1],
        v6: "fd69:6e6e:0:1::".parse().unwrap(),
    };
    Identity::of(&lease, subnet)
}

fn frame(from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&EVERYBODY[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn ipv4(from: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45; 20];
    packet[12..16].copy_from_slice(&from);
    packet
}

fn ipv6(from: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let from: Ipv6Addr = from.parse().unwrap();
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 255];
    packet.extend(from.octets());
    packet.extend([0xff; 16]);
    packet.extend(payload);
    packet
}

fn neighbour(kind: u8, target: &str, options: &[u8]) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    [&[kind, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..], options].concat()
}

fn link(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1], &mac[..]].concat()
}

fn honest(from: Mac, kind: u16, payload: &[u8]) -> bool {
    identity().is_honest(&frame(from, kind, payload))
}

#[test]
fn only_the_card_s_and_the_lent_address_are_its_own() {
    assert!(honest(MAC, TYPE_IPV4, &ipv4([10, 105, 1, 16])));
    assert!(honest(MAC, TYPE_IPV4, &ipv4([0; 4])));
    assert!(!honest(MAC, TYPE_IPV4, &ipv4([10, 105, 1, 17])));
    assert!(!honest(MAC, TYPE_IPV4, &ipv4([10, 0, 2, 16])));
    assert!(!honest(OTHER, TYPE_IPV4, &ipv4([10, 105, 1, 16])));
    assert!(!honest(MAC, TYPE_IPV4, &[0x45; 15]));
    // A tag could hide anything.
    assert!(!honest(MAC, 0x8100, &ipv4([10, 105, 1, 16])));
}

#[test]
fn arp_tells_of_nobody_else() {
    let arp = |mac: Mac, ip: [u8; 4]| [&[0, 1, 8, 0, 6, 4, 0, 2], &mac[..], &ip, &[0; 10]].concat();
    assert!(honest(MAC, TYPE_ARP, &arp(MAC, [10, 105, 1, 16])));
    assert!(!honest(MAC, TYPE_ARP, &arp(OTHER, [10, 105, 1, 16])));
    assert!(!honest(MAC, TYPE_ARP, &arp(MAC, [10, 105, 1, 2])));
}

#[test]
fn addresses_that_name_a_card_belong_to_it_and_the_first_ones_to_the_host() {
    let udp = |from: &str| honest(MAC, TYPE_IPV6, &ipv6(from, UDP, &[0; 8]));
    assert!(udp("fd69:6e6e:0:1:0:ff:fe00:7"));
    assert!(udp("fe80::ff:fe00:7"));
    assert!(udp("fd69:6e6e:0:1:a:b:c:d"));
    assert!(udp("::"));
    assert!(!udp("fd69:6e6e:0:1:0:ff:fe00:8"));
    assert!(!udp("fe80::ff:fe00:8"));
    assert!(!udp("fe80::2"));
    assert!(!udp("fd69:6e6e:0:1::2"));
    assert!(!udp("fd69:6e6e:0:2:a:b:c:d"));
    assert!(!udp("2001:db8::1"));
}

#[test]
fn neighbour_discovery_tells_of_nobody_else() {
    let own = "fd69:6e6e:0:1:0:ff:fe00:7";
    let says = |from: &str, message: &[u8]| honest(MAC, TYPE_IPV6, &ipv6(from, ICMPV6, message));
    let other = "fd69:6e6e:0:1:0:ff:fe00:8";
    assert!(says(
        own,
        &neighbour(SOLICITATION, other, &link(SOURCE_LINK, MAC))
    ));
    assert!(!says(
        own,
        &neighbour(SOLICITATION, other, &link(SOURCE_LINK, OTHER))
    ));
    // Does anybody have this address already?
    assert!(says("::", &neighbour(SOLICITATION, own, &[])));
    assert!(says(
        own,
        &neighbour(ADVERTISEMENT, own, &link(TARGET_LINK, MAC))
    ));
    assert!(!says(
        own,
        &neighbour(ADVERTISEMENT, own, &link(TARGET_LINK, OTHER))
    ));
    assert!(!says(
        own,
        &neighbour(ADVERTISEMENT, other, &link(TARGET_LINK, MAC))
    ));
    assert!(!says(
        own,
        &neighbour(ADVERTISEMENT, "fe80::2", &link(TARGET_LINK, MAC))
    ));
    // Options that hide behind others, without end or without a length.
    let behind = [link(9, OTHER), link(TARGET_LINK, OTHER)].concat();
    assert!(!says(own, &neighbour(ADVERTISEMENT, own, &behind)));
    assert!(!says(
        own,
        &neighbour(ADVERTISEMENT, own, &[9, 0, 0, 0, 0, 0, 0, 0])
    ));
    assert!(!says(
        own,
        &neighbour(ADVERTISEMENT, own, &[2, 9, 0, 0, 0, 0, 0, 0])
    ));
    assert!(!says(
        own,
        &neighbour(ADVERTISEMENT, own, &link(9, MAC).repeat(40))
    ));
    assert!(!says(own, &[ADVERTISEMENT, 0, 0, 0]));
}
