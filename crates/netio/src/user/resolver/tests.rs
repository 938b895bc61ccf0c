use std::time::Instant;

use super::{Resolver, parse};

#[test]
fn only_servers_count() {
    let text = b"# nameserver 1.1.1.1\nsearch example.org\n\nnameserver 192.0.2.1\n\
        nameserver\t2001:db8::1  \nnameserver fe80::1%eth0\nnameserver nonsense\n\
        nameserver 192.0.2.2\nnameserver 192.0.2.3\n\xff\xfe";
    let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
    assert!(parse(b"").is_empty());
}

#[test]
fn one_that_does_not_answer_gives_way() {
    let now = Instant::now();
    let mut resolver = Resolver {
        servers: parse(b"nameserver 192.0.2.1\nnameserver 192.0.2.2\n"),
        read: Some(now),
        current: 0,
    };
    let first = resolver.server(now);
    resolver.disappointed();
    assert_ne!(resolver.server(now), first);
    let mut none = Resolver {
        read: Some(now),
        ..Resolver::default()
    };
    none.disappointed();
    assert_eq!(none.server(now), None);
}
