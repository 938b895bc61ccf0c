use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::*;
use crate::user::packet;

const CLIENT: u16 = 2000;
const MTU: u16 = 1500;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tftp-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("files")).unwrap();
        Scratch(path)
    }

    fn serve(&self) -> Tftp {
        Tftp::open(&self.0.join("files")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server's port and its message, if it answers.
fn say(tftp: &mut Tftp, port: u16, message: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut payload = CLIENT.to_be_bytes().to_vec();
    payload.extend(port.to_be_bytes());
    payload.extend(u16::try_from(8 + message.len()).unwrap().to_be_bytes());
    payload.extend([0, 0]);
    payload.extend(message);
    let packet = Packet {
        source: IpAddr::from(Ipv4Addr::new(10, 0, 2, 15)),
        destination: IpAddr::from(Ipv4Addr::new(10, 0, 2, 2)),
        protocol: UDP,
        payload: &payload,
        whole: &payload,
    };
    if !tftp.is_for_us(&packet) {
        return None;
    }
    let frame = tftp.answer([2; 6], &packet, MTU)?;
    let ethernet = packet::ethernet(&frame).unwrap();
    let answer = packet::ip(ethernet.kind, ethernet.payload).unwrap();
    assert_eq!(word(answer.payload, 2), Some(CLIENT));
    Some((
        word(answer.payload, 0).unwrap(),
        answer.payload[8..].to_vec(),
    ))
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut message = READ.to_be_bytes().to_vec();
    for word in words {
        message.extend(word.bytes().chain([0]));
    }
    message
}

fn acknowledge(block: u16) -> Vec<u8> {
    [ACKNOWLEDGED.to_be_bytes(), block.to_be_bytes()].concat()
}

/// A whole file, and how many blocks it came in.
fn fetch(tftp: &mut Tftp, words: &[&str]) -> (Vec<u8>, usize) {
    let (port, mut message) = say(tftp, PORT, &request(words)).unwrap();
    let (mut got, mut blocks, mut len) = (Vec::new(), 0, BLOCK);
    if message.starts_with(&OPTIONS.to_be_bytes()) {
        let text = String::from_utf8(message[2..].to_vec()).unwrap();
        let mut words = text.split('\0');
        while let Some(name) = words.next() {
            let value = words.next();
            if name == "blksize" {
                len = value.unwrap().parse().unwrap();
            }
        }
        message = say(tftp, port, &acknowledge(0)).unwrap().1;
    }
    loop {
        assert_eq!(word(&message, 0), Some(DATA));
        got.extend_from_slice(&message[4..]);
        blocks += 1;
        let number = word(&message, 2).unwrap();
        let next = say(tftp, port, &acknowledge(number));
        if message.len() < 4 + len {
            assert_eq!(next, None, "nothing comes behind the last block");
            return (got, blocks);
        }
        message = next.unwrap().1;
    }
}

#[test]
fn files_come_in_blocks_of_the_size_that_was_agreed() {
    let scratch = Scratch::new("blocks");
    let content: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
    fs::write(scratch.0.join("files/kernel"), &content).unwrap();
    let mut tftp = scratch.serve();
    assert_eq!(
        fetch(&mut tftp, &["kernel", "octet"]),
        (content.clone(), 20)
    );
    let words = ["/kernel", "OCTET", "blksize", "1024", "tsize", "0"];
    assert_eq!(fetch(&mut tftp, &words), (content.clone(), 10));
    // No longer than a packet has room for.
    let words = ["\\kernel", "octet", "BlkSize", "65464"];
    assert_eq!(fetch(&mut tftp, &words), (content[..].to_vec(), 7));
}

#[test]
fn a_file_of_whole_blocks_ends_with_an_empty_one() {
    let scratch = Scratch::new("whole");
    fs::write(scratch.0.join("files/even"), [7; 1024]).unwrap();
    fs::write(scratch.0.join("files/empty"), []).unwrap();
    let mut tftp = scratch.serve();
    assert_eq!(fetch(&mut tftp, &["even", "octet"]), (vec![7; 1024], 3));
    assert_eq!(fetch(&mut tftp, &["empty", "octet"]), (Vec::new(), 1));
}

#[test]
fn a_block_that_was_lost_comes_again() {
    let scratch = Scratch::new("lost");
    fs::write(scratch.0.join("files/a"), [7; 2000]).unwrap();
    let mut tftp = scratch.serve();
    let (port, first) = say(&mut tftp, PORT, &request(&["a", "octet"])).unwrap();
    let second = say(&mut tftp, port, &acknowledge(1)).unwrap();
    assert_eq!(say(&mut tftp, port, &acknowledge(1)), Some(second));
    assert_eq!(say(&mut tftp, port, &acknowledge(9)), None);
    let again = say(&mut tftp, PORT, &request(&["a", "octet"])).unwrap().1;
    assert_eq!(again, first);
}

#[test]
fn what_is_outside_of_the_directory_is_not_found() {
    let scratch = Scratch::new("outside");
    fs::write(scratch.0.join("secret"), b"secret").unwrap();
    std::os::unix::fs::symlink("../secret", scratch.0.join("files/link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", scratch.0.join("files/passwd")).unwrap();
    let mut tftp = scratch.serve();
    for name in [
        "../secret",
        "link",
        "passwd",
        "/etc/passwd",
        "missing",
        ".",
        "//",
    ] {
        let (port, message) = say(&mut tftp, PORT, &request(&[name, "octet"])).unwrap();
        assert_eq!(port, PORT);
        assert_eq!(word(&message, 0), Some(ERROR), "{name}");
        assert_eq!(word(&message, 2), Some(NOT_FOUND), "{name}");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let scratch = Scratch::new("refused");
    let mut tftp = scratch.serve();
    let mut code = |message: &[u8]| {
        let answer = say(&mut tftp, PORT, message).map(|(_, answer)| answer);
        answer.and_then(|answer| word(&answer, 2))
    };
    let mut write = request(&["a", "octet"]);
    write[1] = 2;
    assert_eq!(code(&write), Some(REFUSED));
    assert_eq!(code(&request(&["a"])), Some(ILLEGAL));
    assert_eq!(code(&request(&["a", "netascii"])), Some(ILLEGAL));
    assert_eq!(code(&request(&["a", "octet"])[..8]), Some(ILLEGAL));
    assert_eq!(code(&acknowledge(1)), Some(ILLEGAL));
    assert_eq!(code(&[1]), None);
}

#[test]
fn only_so_many_transfers_go_on_at_a_time() {
    let scratch = Scratch::new("many");
    fs::write(scratch.0.join("files/a"), [7; 2000]).unwrap();
    let mut tftp = scratch.serve();
    let mut first = None;
    for port in 0..20u16 {
        let client = SocketAddr::new(Ipv4Addr::new(10, 0, 2, 15).into(), 3000 + port);
        let (port, _) = tftp.begin(client, &request(&["a", "octet"]), MTU).unwrap();
        first.get_or_insert((client, port));
        assert!(tftp.transfers.len() <= TRANSFERS);
    }
    let (client, port) = first.unwrap();
    let answer = tftp.go_on(client, port, &acknowledge(1)).unwrap();
    assert_eq!(word(&answer, 2), Some(UNKNOWN));
}
