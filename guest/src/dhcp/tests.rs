use super::{Answer, Client, FIXED, Lease};

const CLIENT: Client = Client {
    number: [1, 2, 3, 4],
    mac: [2, 0, 0, 0, 0, 9],
};

fn answer(kind: u8) -> Vec<u8> {
    let mut message = CLIENT.discover();
    message[0] = 2;
    message[16..20].copy_from_slice(&[10, 0, 2, 15]);
    message.truncate(FIXED);
    message.extend([53, 1, kind, 0, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16]);
    message.extend([
        1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 8, 10, 0, 2, 3, 9, 9, 9, 9,
    ]);
    message.push(255);
    message
}

fn lease() -> Lease {
    Lease {
        address: [10, 0, 2, 15].into(),
        mask: [255, 255, 255, 0].into(),
        router: Some([10, 0, 2, 2].into()),
        resolvers: vec![[10, 0, 2, 3].into(), [9, 9, 9, 9].into()],
        server: [10, 0, 2, 2].into(),
        seconds: 3600,
    }
}

#[test]
fn answers_are_understood() {
    assert_eq!(CLIENT.parse(&answer(2)), Some(Answer::Offer(lease())));
    assert_eq!(CLIENT.parse(&answer(5)), Some(Answer::Granted(lease())));
    assert_eq!(CLIENT.parse(&answer(6)), Some(Answer::Refused));
}

#[test]
fn what_is_for_others_or_cut_off_is_not_heard() {
    for place in [0, 5, 30, 237] {
        let mut other = answer(5);
        other[place] ^= 1;
        assert_eq!(CLIENT.parse(&other), None, "byte {place}");
    }
    let whole = answer(5);
    for len in 0..whole.len() - 1 {
        let cut = CLIENT.parse(&whole[..len]);
        assert!(cut.is_none() || len > FIXED + 40, "{len}: {cut:?}");
    }
}

#[test]
fn requests_name_the_address() {
    let request = CLIENT.request(&lease(), true);
    assert_eq!(
        request[240..252],
        [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10]
    );
    assert!(
        !CLIENT
            .request(&lease(), false)
            .windows(2)
            .any(|pair| pair == [54, 4])
    );
    assert_eq!(CLIENT.discover().len(), 300);
}

/// Answers come from the network, from whoever is there.
#[test]
fn whatever_comes_is_read_to_an_end() {
    // Spec: Marsaglia, "Xorshift RNGs".
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        usize::try_from(noise >> 33).unwrap() % below
    };
    let mut understood = 0;
    for _ in 0..20_000 {
        let mut message = answer([2, 5, 6, 0][next(4)]);
        for _ in 0..next(6) {
            // Options, for the most part: what is for others is soon done with.
            let at = if next(8) == 0 { 0 } else { FIXED };
            let at = at + next(message.len() - at);
            message[at] = u8::try_from(next(256)).unwrap();
        }
        message.truncate(message.len() - next(3) * next(20));
        understood += usize::from(CLIENT.parse(&message).is_some());
    }
    assert!((1000..19_000).contains(&understood), "{understood}");
}
