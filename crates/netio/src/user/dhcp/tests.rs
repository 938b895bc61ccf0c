use std::net::Ipv4Addr;

use super::*;
use crate::user::packet;
use crate::user::plan::GUEST4;

const DISCOVERY: [u8; 3] = [53, 1, DISCOVER];

fn ask(boot: Option<&NetworkBoot>, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message.extend(COOKIE);
    message.extend(options);
    message.push(255);
    let offer = Offer {
        lent: GUEST4,
        subnet: Subnet::USER,
        mtu: 65_520,
        boot,
    };
    let frame = answer(&message, &offer).unwrap();
    let ethernet = packet::ethernet(&frame).unwrap();
    let packet = packet::ip(ethernet.kind, ethernet.payload).unwrap();
    packet.payload[8..].to_vec()
}

fn said(reply: &[u8], wanted: u8) -> Option<Vec<u8>> {
    option(reply[FIXED..].strip_prefix(&COOKIE)?, wanted).map(<[u8]>::to_vec)
}

#[test]
fn who_boots_is_told_from_where_and_what() {
    let boot = NetworkBoot {
        directory: Some("/srv/tftp".into()),
        file: "pxelinux.0".to_owned(),
    };
    let gateway = Ipv4Addr::new(10, 0, 2, 2);
    let reply = ask(Some(&boot), &DISCOVERY);
    assert_eq!(reply[20..24], gateway.octets());
    assert_eq!(reply[FILE..FILE + 11], *b"pxelinux.0\0");
    assert_eq!((said(&reply, 66), said(&reply, 67)), (None, None));
    let asked = [&DISCOVERY[..], &[55, 3, 1, 66, 67]].concat();
    let reply = ask(Some(&boot), &asked);
    assert_eq!(said(&reply, 66), Some(b"10.0.2.2".to_vec()));
    assert_eq!(said(&reply, 67), Some(b"pxelinux.0".to_vec()));
}

#[test]
fn without_anything_to_boot_nothing_is_said_of_it() {
    let reply = ask(None, &[&DISCOVERY[..], &[55, 2, 66, 67]].concat());
    assert_eq!(reply[20..24], [0; 4]);
    assert!(reply[44..FIXED].iter().all(|byte| *byte == 0));
    assert_eq!((said(&reply, 66), said(&reply, 67)), (None, None));
}

#[test]
fn only_systems_hear_of_long_packets() {
    assert_eq!(said(&ask(None, &DISCOVERY), 26), Some(vec![0xff, 0xf0]));
    let class = b"PXEClient:Arch:00000:UNDI:002001";
    let mut options = DISCOVERY.to_vec();
    options.extend([60, class.len() as u8]);
    options.extend(class);
    assert_eq!(said(&ask(None, &options), 26), None);
}
