use super::*;

fn frame(kind: u8, job: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&job.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn sync() -> Vec<u8> {
    frame(9, 0, &[[7; 16].as_slice(), &[0, 0]].concat())
}

/// Whether it hears nothing more before the next Sync.
fn is_lost(mut decoder: Decoder) -> bool {
    let is_silent = decoder.next().is_none();
    decoder.push(&frame(3, 1, b""));
    let is_deaf = decoder.next().is_none();
    for byte in sync() {
        decoder.push(&[byte]);
    }
    let wanted = Request::Sync {
        nonce: [7; 16],
        keep: Vec::new(),
    };
    is_silent && is_deaf && decoder.next() == Some(wanted)
}

#[test]
fn what_is_not_followed_is_not_kept() {
    let mut decoder = Decoder::default();
    for _ in 0..10 {
        decoder.push(&[255; MAX_PAYLOAD]);
        assert_eq!(decoder.next(), None);
        assert!(decoder.bytes.len() < HEADER);
    }
    assert!(is_lost(decoder));
}

/// Not the same for all frames, and the same each time. Spec: Marsaglia, "Xorshift RNGs".
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

/// Frames with damage, in pieces of any lengths; `FUZZ_ROUNDS` for more than a look.
#[test]
fn whatever_the_host_says_is_read_to_an_end_and_not_piled_up() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok();
    let rounds = rounds.map_or(3000, |rounds| rounds.parse::<u32>().unwrap());
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut decoder = Decoder::default();
    for _ in 0..rounds {
        let mut bytes = Vec::new();
        for _ in 0..=noise.next(3) {
            // Those from 64 on are nobody's, ever.
            let kind = u8::try_from(noise.next(20) * (1 + noise.next(6) / 5 * 12)).unwrap();
            bytes.extend(match noise.next(4) {
                0 => sync(),
                1 => frame(kind, 1, &payload(kind)),
                2 => frame(kind, 0, &vec![kind; noise.next(64)]),
                _ => (0..noise.next(40))
                    .map(|_| u8::try_from(noise.next(256)).unwrap())
                    .collect(),
            });
        }
        for _ in 0..noise.next(4) {
            let at = noise.next(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(noise.next(256)).unwrap();
            }
        }
        while !bytes.is_empty() {
            let rest = bytes.split_off(noise.next(bytes.len()) + 1);
            decoder.push(&bytes);
            bytes = rest;
            while decoder.next().is_some() {}
            assert!(decoder.bytes.len() < 2 * (HEADER + MAX_PAYLOAD));
        }
    }
    // Whatever it was in the middle of, it hears whoever begins anew, once that is over.
    decoder.push(&[255; HEADER + MAX_PAYLOAD]);
    while decoder.next().is_some() {}
    decoder.push(&sync());
    assert!(matches!(decoder.next(), Some(Request::Sync { .. })));
}

/// What makes sense to a kind that has more to read than a number, or to an exec.
fn payload(kind: u8) -> Vec<u8> {
    match kind {
        9 => [[7; 16].as_slice(), &[2, 0], &[1, 0, 0, 0], &[2, 0, 0, 0]].concat(),
        11 => [
            string("ann").as_slice(),
            &[16, 0, 0, 0],
            &[5; 16],
            &[4, 0, 0, 0],
            &[6; 4],
            &[1, 0],
            &[2; 12],
        ]
        .concat(),
        14 => [[0, 4, 0, 0].as_slice(), &[9; 16]].concat(),
        _ => exec_payload(),
    }
}

#[test]
fn what_noise_is_made_of_makes_sense() {
    for kind in [1, 9, 11, 14] {
        let mut decoder = Decoder::default();
        decoder.push(&frame(kind, 1, &payload(kind)));
        assert!(decoder.next().is_some(), "{kind}");
    }
}

fn exec_payload() -> Vec<u8> {
    let mut payload = vec![1, 80, 0, 24, 0];
    payload.extend_from_slice(&string("ann"));
    payload.extend_from_slice(&string("/tmp"));
    payload.extend_from_slice(&[2, 0]);
    payload.extend_from_slice(&string("ls"));
    payload.extend_from_slice(&string("-l"));
    payload.extend_from_slice(&[1, 0]);
    payload.extend_from_slice(&string("A=b"));
    payload
}

#[test]
fn an_exec_arrives_whole_when_it_comes_byte_by_byte() {
    let mut decoder = Decoder::default();
    let bytes = frame(1, 7, &exec_payload());
    let (last, first) = bytes.split_last().unwrap();
    for byte in first {
        decoder.push(&[*byte]);
        assert_eq!(decoder.next(), None);
    }
    decoder.push(&[*last]);
    let exec = Exec {
        terminal: Some(Size {
            columns: 80,
            rows: 24,
        }),
        user: "ann".into(),
        cwd: "/tmp".into(),
        argv: vec!["ls".into(), "-l".into()],
        env: vec!["A=b".into()],
    };
    assert_eq!(decoder.next(), Some(Request::Exec { job: 7, exec }));
    assert_eq!(decoder.next(), None);
}

#[test]
fn every_truncated_exec_is_malformed_and_none_is_read_past_its_end() {
    let payload = exec_payload();
    for length in 0..payload.len() {
        let mut decoder = Decoder::default();
        decoder.push(&frame(1, 7, &payload[..length]));
        assert!(is_lost(decoder), "{length} bytes");
    }
}

#[test]
fn two_frames_in_one_read_are_two_requests() {
    let mut decoder = Decoder::default();
    let mut bytes = frame(2, 1, b"hello");
    bytes.extend_from_slice(&frame(3, 1, b""));
    decoder.push(&bytes);
    let stdin = Request::Stdin {
        job: 1,
        bytes: b"hello".to_vec(),
    };
    assert_eq!(decoder.next(), Some(stdin));
    assert_eq!(decoder.next(), Some(Request::StdinEnd { job: 1 }));
    assert_eq!(decoder.next(), None);
    decoder.push(&frame(8, 3, &[0, 1, 0, 0]));
    let credit = Request::Credit { job: 3, bytes: 256 };
    assert_eq!(decoder.next(), Some(credit));
}

#[test]
fn unknown_kinds_trailing_bytes_and_huge_lengths_are_malformed() {
    for bytes in [
        frame(99, 0, b""),
        frame(7, 0, b"x"),
        vec![255, 255, 255, 255, 2, 0, 0, 0, 0],
    ] {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert!(is_lost(decoder));
    }
}

#[test]
fn a_frame_from_the_agent_has_the_documented_layout() {
    let mut out = Vec::new();
    encode(&mut out, Kind::Credit, 3, &5u32.to_le_bytes());
    assert_eq!(out, [4, 0, 0, 0, 69, 3, 0, 0, 0, 5, 0, 0, 0]);
}

#[test]
fn an_errand_is_read_with_all_that_it_needs() {
    let mut payload = string("web2");
    payload.extend(string("0123456789abcdef"));
    payload.extend(string("noise"));
    payload.extend([1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9]);
    let identity = Identity {
        hostname: "web2".into(),
        machine_id: Some(*b"0123456789abcdef"),
        entropy: b"noise".to_vec(),
        cards: vec![([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9])],
    };
    let errand = |errand| Some(Request::Errand { job: 4, errand });
    let next = |kind, payload: &[u8]| {
        let mut decoder = Decoder::default();
        decoder.push(&frame(kind, 4, payload));
        decoder.next()
    };
    assert_eq!(next(11, &payload), errand(Errand::Renew(identity)));
    assert_eq!(
        next(10, &[1; 8]),
        errand(Errand::SetTime(0x0101_0101_0101_0101))
    );
    assert_eq!(next(12, &[232, 3, 0, 0]), errand(Errand::Freeze(1000)));
    assert_eq!(next(13, &[]), errand(Errand::Thaw));
    for length in 0..payload.len() {
        let mut decoder = Decoder::default();
        decoder.push(&frame(11, 4, &payload[..length]));
        assert!(is_lost(decoder), "{length} bytes");
    }
}

#[test]
fn another_host_says_what_it_keeps_and_a_newer_one_is_told_what_is_not_known() {
    let mut decoder = Decoder::default();
    let mut payload = vec![7; 16];
    payload.extend([2, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    decoder.push(&frame(9, 0, &payload));
    let sync = Request::Sync {
        nonce: [7; 16],
        keep: vec![1, 9],
    };
    assert_eq!(decoder.next(), Some(sync));
    let mut meeting = vec![255, 3, 0, 0];
    meeting.extend([9; 16]);
    decoder.push(&frame(14, 2, &meeting));
    let meet = Request::Meet {
        job: 2,
        port: 1023,
        token: [9; 16],
    };
    assert_eq!(decoder.next(), Some(meet));
    decoder.push(&frame(63, 5, b"whatever it is"));
    assert_eq!(decoder.next(), Some(Request::Unknown { job: 5 }));
}
