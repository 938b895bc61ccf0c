//! A network that guests share: other members that send anything, a list of members that says
//! anything, and a guest that does.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use netio::{Link, MAX_FRAME, NetworkOptions, OffloadHeader, Offloads, UserLink, UserOptions};

use crate::{Input, strict};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const NAME: &str = "guest";

/// The network's directory, gone when the input is done.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn shared_network(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let directory = Directory(std::env::temp_dir().join(format!(
        "fuzz-network-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    )));
    let _ = fs::create_dir_all(directory.0.join("members"));
    if input.bool() {
        write_leases(&directory, &mut input);
    }
    let options = UserOptions {
        network: Some(NetworkOptions {
            directory: directory.0.clone(),
            name: NAME.into(),
            mac: MAC,
        }),
        isolated: true,
        ..UserOptions::default()
    };
    // A list of members in which all addresses are taken lets nobody in.
    let Ok(mut link) = UserLink::new(&options) else {
        return;
    };
    let (Ok(peer), Ok(sender)) = (
        UnixDatagram::bind(directory.0.join("members/peer")),
        UnixDatagram::unbound(),
    ) else {
        return;
    };
    let _ = peer.set_nonblocking(true);
    let _ = sender.set_nonblocking(true);
    while !input.is_empty() {
        match input.byte() & 7 {
            0..=2 => {
                let message = message(&mut input);
                let _ = sender.send_to(&message, directory.0.join("members").join(NAME));
            }
            3 | 4 => {
                let (offload, frame) = (header(&mut input), frame(&mut input, MAC));
                // The card lets only these through.
                if offload.is_possible(frame.len(), ALL) {
                    link.send(&offload, &frame);
                }
            }
            5 => write_leases(&directory, &mut input),
            6 => link.accept(Offloads {
                checksum: input.bool(),
                ..Offloads::NONE
            }),
            _ => take(&mut link, &peer),
        }
    }
    take(&mut link, &peer);
}

const ALL: Offloads = Offloads {
    checksum: true,
    tso4: true,
    tso6: true,
    ecn: true,
};

fn header(input: &mut Input<'_>) -> OffloadHeader {
    OffloadHeader {
        flags: input.byte() & 3,
        gso_type: input.choose(&[0, 1, 4, 0x81, 3]),
        hdr_len: input.u16(),
        gso_size: input.choose(&[0, 1, 100, 1448, 0xffff]),
        csum_start: input.choose(&[34, 54, 14, 0, 0xffff]),
        csum_offset: input.choose(&[16, 6, 2, 0xffff]),
    }
}

fn message(input: &mut Input<'_>) -> Vec<u8> {
    let mut message = header(input).to_bytes().to_vec();
    message.extend(frame(input, PEER));
    if input.byte() & 15 == 0 {
        message.truncate(usize::from(input.byte()));
    }
    message
}

/// ARP, a question for a name, TCP, or anything.
fn frame(input: &mut Input<'_>, from: [u8; 6]) -> Vec<u8> {
    let to = input.choose(&[MAC, PEER, [0xff; 6], [2, b'i', b'n', b'n', 0, 2]]);
    let mut frame = [&to[..], &from].concat();
    match input.byte() & 3 {
        0 => frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]),
        1 => {
            frame.extend([
                8, 0, 0x45, 0, 0, 80, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 16, 10, 0, 2, 3,
            ]);
            frame.extend([
                4, 0, 0, 53, 0, 60, 0, 0, 1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4,
            ]);
            frame.extend(b"peer\0\0\x01\0\x01");
        }
        2 => {
            frame.extend([
                8, 0, 0x45, 0, 3, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 16, 10, 0, 2, 17,
            ]);
            frame.extend([
                0,
                1,
                0,
                2,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                5 << 4,
                0x10,
                1,
                0,
                0,
                0,
                0,
                0,
            ]);
        }
        _ => {}
    }
    let len = usize::from(input.byte()) * usize::from(input.byte() & 31);
    frame.extend(input.take(16));
    frame.resize(frame.len() + len, 7);
    frame
}

fn write_leases(directory: &Directory, input: &mut Input<'_>) {
    let mut text = b"peer 17 020000000002\nguest 16 020000000001\n".to_vec();
    for _ in 0..input.byte() & 3 {
        let at = usize::from(input.byte()) % (text.len() + 1);
        let len = usize::from(input.byte() & 15);
        let piece = input.take(len).to_vec();
        text.splice(at..at, piece);
    }
    let _ = fs::write(directory.0.join("leases"), text);
}

fn take(link: &mut UserLink, peer: &UnixDatagram) {
    let mut buffer = vec![0; OffloadHeader::LEN + MAX_FRAME];
    while peer.recv(&mut buffer).is_ok() {}
    link.turn();
    for _ in 0..64 {
        let more = link.receive(&mut |frame| {
            assert!(frame.len() >= 14 && frame.len() <= MAX_FRAME);
            true
        });
        if !more {
            break;
        }
    }
}
