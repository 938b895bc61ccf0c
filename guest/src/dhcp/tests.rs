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
