use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{Policy, is_host};

fn goes(policy: &mut Policy, to: &str) -> Option<SocketAddr> {
    policy.target(to.parse().unwrap(), Instant::now())
}

#[test]
fn what_belongs_to_the_host_is_refused() {
    let mut policy = Policy::new(false, false);
    for address in [
        "10.0.2.2:80",
        "10.0.2.15:80",
        "10.0.2.77:80",
        "127.0.0.1:80",
        "127.9.9.9:80",
        "0.0.0.0:80",
        "169.254.169.254:80",
        "224.0.0.1:80",
        "255.255.255.255:67",
        "240.0.0.1:9",
        "198.51.100.1:0",
        "10.0.2.3:80",
        "[::1]:80",
        "[::]:80",
        "[::ffff:127.0.0.1]:80",
        "[::127.0.0.1]:80",
        "[fe80::1]:80",
        "[ff02::1]:80",
        "[fd00:ec2::254]:80",
        "[fd69:6e6e::2]:80",
        "[fd69:6e6e::3]:80",
    ] {
        assert_eq!(goes(&mut policy, address), None, "{address}");
    }
}

#[test]
fn the_world_is_open() {
    let mut policy = Policy::new(false, false);
    for address in ["198.51.100.1:80", "203.0.113.7:443", "[2001:db8::1]:80"] {
        assert_eq!(goes(&mut policy, address), Some(address.parse().unwrap()));
    }
}

#[test]
fn the_gateway_is_the_host_where_that_is_allowed() {
    let mut policy = Policy::new(true, false);
    let host = |text: &str| Some(text.parse().unwrap());
    assert_eq!(goes(&mut policy, "10.0.2.2:80"), host("127.0.0.1:80"));
    assert_eq!(goes(&mut policy, "[fd69:6e6e::2]:80"), host("[::1]:80"));
    assert_eq!(goes(&mut policy, "127.0.0.1:80"), None);
    assert_eq!(goes(&mut policy, "169.254.169.254:80"), None);
}

#[test]
fn the_host_knows_its_own_addresses() {
    assert!(is_host("127.0.0.1".parse::<IpAddr>().unwrap()));
    assert!(!is_host("198.51.100.1".parse::<IpAddr>().unwrap()));
}

#[test]
fn an_isolated_guest_reaches_at_most_the_host() {
    let mut nothing = Policy::new(false, true);
    for address in [
        "198.51.100.1:80",
        "10.0.2.2:80",
        "10.0.2.3:53",
        "[2001:db8::1]:80",
    ] {
        assert_eq!(goes(&mut nothing, address), None, "{address}");
    }
    let mut host = Policy::new(true, true);
    assert!(goes(&mut host, "10.0.2.2:80").is_some());
    assert_eq!(goes(&mut host, "198.51.100.1:80"), None);
    assert_eq!(goes(&mut host, "10.0.2.3:53"), None);
    assert!(!host.has_ipv6());
}
