use super::{FLOWS, Steering, flow_of};

fn frame(source: [u8; 4], from: u16, destination: [u8; 4], to: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45]);
    frame.resize(14 + 12, 0);
    frame.extend([source, destination].concat());
    frame.extend(from.to_be_bytes());
    frame.extend(to.to_be_bytes());
    frame
}

#[test]
fn answers_come_to_the_pair_that_asked() {
    let steering = Steering::default();
    let (guest, host) = ([10, 0, 2, 15], [192, 0, 2, 1]);
    steering.learn(&frame(guest, 40_000, host, 80), 3);
    let answer = frame(host, 80, guest, 40_000);
    assert_eq!(steering.choose(&answer, 4), 3);
    assert_eq!(steering.choose(&answer, 2), 0, "that pair is not in use");
    steering.reset();
    assert_eq!(steering.choose(&answer, 4), 0);
}

#[test]
fn flows_spread() {
    let guest = [10, 0, 2, 15];
    let mut seen = std::collections::BTreeSet::new();
    for port in 40_000..41_000 {
        seen.insert(flow_of(&frame(guest, port, [1, 2, 3, 4], 443)).unwrap());
    }
    assert!(seen.len() > FLOWS * 9 / 10, "{}", seen.len());
}

#[test]
fn whatever_is_no_ip_goes_to_the_first() {
    let whole = frame([1; 4], 1, [2; 4], 2);
    for len in 0..whole.len() {
        Steering::default().learn(&whole[..len], 1);
    }
    assert_eq!(flow_of(&[0; 60]), None);
}
