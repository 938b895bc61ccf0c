//! User-mode networks: a guest that sends anything, a host whose sockets do anything.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use netio::{
    Checksum, Forward, Link, MAX_FRAME, NetworkBoot, OffloadHeader, Offloads, Protocol, UserLink,
    UserOptions,
};

use crate::namespace_raw::alone;
use crate::{Input, strict};

const GUEST: [u8; 4] = [10, 0, 2, 15];
const GATEWAY: [u8; 4] = [10, 0, 2, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ACK: u8 = 16;

/// The host's side.
struct World {
    listener: TcpListener,
    datagrams: UdpSocket,
    streams: Vec<TcpStream>,
    published: Vec<SocketAddr>,
    /// Connections still to make: more would wait for the link to take them, for ever.
    calls: u8,
}

/// What a guest would send next on the connection that it heard of last.
#[derive(Default)]
struct Heard {
    ports: [u16; 2],
    sequence: u32,
    acknowledged: u32,
}

pub(crate) fn user_network(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    // Where other machines could be reached, the guest is let nowhere.
    let alone = alone();
    let Some((mut link, mut world)) = start(alone, input.u16()) else {
        return;
    };
    let mut heard = Heard::default();
    while !input.is_empty() {
        match input.byte() & 15 {
            0 => send(&mut link, &mut input, raw),
            1..=5 => {
                let frame = |input: &mut Input<'_>| tcp(input, &heard, &world);
                send(&mut link, &mut input, frame);
            }
            6 | 7 => send(&mut link, &mut input, |input| udp(input, &world)),
            8 => send(&mut link, &mut input, other),
            12 => send(&mut link, &mut input, tftp),
            9 | 10 => host(&mut world, &mut input),
            11 => {
                let bits = input.byte();
                let flag = |bit: u8| bits & bit != 0;
                link.accept(Offloads {
                    checksum: flag(1),
                    tso4: flag(1) && flag(2),
                    tso6: flag(1) && flag(4),
                    ecn: false,
                });
            }
            _ => take(&mut link, &mut heard, input.byte()),
        }
        let flows = link.flows();
        assert!(flows.tcp <= 512 && flows.udp <= 256 && flows.ping <= 32);
    }
}

fn start(alone: bool, mtu: u16) -> Option<(UserLink, World)> {
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let forward = |protocol| Forward {
        protocol,
        host: here,
        guest_port: 80,
    };
    let options = UserOptions {
        forwards: vec![forward(Protocol::Tcp), forward(Protocol::Udp)],
        reach_host: alone,
        isolated: !alone,
        network: None,
        mtu,
        boot: Some(NetworkBoot {
            directory: Some(env!("CARGO_MANIFEST_DIR").into()),
            file: "pxelinux.0".to_owned(),
        }),
    };
    // A host without descriptors or ports is no finding.
    let link = UserLink::new(&options).ok()?;
    let listener = TcpListener::bind(here).ok()?;
    let datagrams = UdpSocket::bind(here).ok()?;
    listener.set_nonblocking(true).ok()?;
    datagrams.set_nonblocking(true).ok()?;
    let world = World {
        published: link.published(),
        listener,
        datagrams,
        streams: Vec::new(),
        calls: 100,
    };
    Some((link, world))
}

fn send(link: &mut UserLink, input: &mut Input<'_>, make: impl FnOnce(&mut Input<'_>) -> Vec<u8>) {
    let mut frame = make(input);
    // Some of them damaged.
    while input.byte() & 7 == 0 && !input.is_empty() {
        let place = usize::from(input.u16()) % frame.len().max(1);
        if let Some(byte) = frame.get_mut(place) {
            *byte = input.byte();
        }
        if input.byte() & 15 == 0 {
            frame.truncate(place);
        }
    }
    frame.truncate(MAX_FRAME);
    link.send(&OffloadHeader::default(), &frame);
}

fn raw(input: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(input.byte());
    let kind = input.choose(&[[8, 0], [8, 6], [0x86, 0xdd], [0, 0]]);
    let mut frame = [&[0xff; 6][..], &MAC, &kind].concat();
    frame.extend((0..len).map(|_| input.byte()));
    frame
}

fn ethernet(kind: [u8; 2]) -> Vec<u8> {
    [&[2; 6][..], &MAC, &kind].concat()
}

fn ip(protocol: u8, payload: &[u8], destination: [u8; 4]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let [high, low] = len.to_be_bytes();
    let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    header.extend(GUEST);
    header.extend(destination);
    let sum = Checksum::default().over(&header).finish();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet([8, 0]);
    frame.extend(header);
    frame.extend(payload);
    frame
}

fn tcp(input: &mut Input<'_>, heard: &Heard, world: &World) -> Vec<u8> {
    let what = input.byte();
    let server = world.listener.local_addr().map_or(9, |it| it.port());
    let fresh = [40_000 + u16::from(input.byte() & 3), server];
    let [from, to] = if what & 1 == 0 { heard.ports } else { fresh };
    let near = |value: u32, input: &mut Input<'_>| match input.byte() {
        0..200 => value,
        200..240 => value
            .wrapping_add(u32::from(input.byte()))
            .wrapping_sub(128),
        _ => input.u32(),
    };
    let flags = if what & 2 == 0 {
        ACK | input.byte() & 9
    } else {
        input.byte()
    };
    let options: &[u8] = match input.byte() & 7 {
        0 => &[2, 4, 5, 180, 3, 3, 7, 0],
        1 => &[2, 4, 0, 1, 3, 3, 99, 1],
        2 => &[2, 0, 0, 0],
        3 => &[3, 200, 1, 1],
        _ => &[],
    };
    let mut message = [from.to_be_bytes(), to.to_be_bytes()].concat();
    message.extend(near(heard.sequence, input).to_be_bytes());
    message.extend(near(heard.acknowledged, input).to_be_bytes());
    let words = u8::try_from(5 + options.len() / 4).unwrap_or(5);
    message.extend([words << 4, flags]);
    message.extend(input.u16().to_be_bytes());
    message.extend([0; 4]);
    message.extend(options);
    let len = match input.byte() {
        0 => 60_000,
        len => usize::from(len),
    };
    message.resize(message.len() + len, 0x5a);
    ip(TCP, &message, GATEWAY)
}

fn udp(input: &mut Input<'_>, world: &World) -> Vec<u8> {
    let server = world.datagrams.local_addr().map_or(9, |it| it.port());
    let to = input.choose(&[server, 67, 53, 9]);
    let from = 5000 + u16::from(input.byte());
    let len = usize::from(input.byte()) * 4;
    let mut message = [from.to_be_bytes(), to.to_be_bytes()].concat();
    message.extend(u16::try_from(8 + len).unwrap_or(8).to_be_bytes());
    message.extend([0, 0]);
    message.extend([1, 1, 6, 0]);
    message.resize(8 + 236.min(len), 0);
    message.extend([99, 130, 83, 99]);
    message.extend((0..len / 8).map(|_| input.byte()));
    let to_all = input.byte() & 3 == 0;
    ip(UDP, &message, if to_all { [255; 4] } else { GATEWAY })
}

/// Requests for files, and what clients say of blocks.
fn tftp(input: &mut Input<'_>) -> Vec<u8> {
    let to: u16 = input.choose(&[69, 69, 49_152, 49_153, 49_160]);
    let mut body = vec![0, input.byte() & 7];
    if to == 69 {
        let names = ["Cargo.toml", "/src/lib.rs", "..", "src", "\\src\\pc.rs", ""];
        let words = [
            "octet",
            "blksize",
            "8",
            "65464",
            "tsize",
            "0",
            "windowsize",
            "\u{e9}",
        ];
        body.extend(input.choose(&names).bytes().chain([0]));
        for _ in 0..input.byte() & 7 {
            body.extend(input.choose(&words).bytes().chain([0]));
        }
    }
    body.extend([0, input.byte() & 3]);
    body.truncate(usize::from(input.byte()));
    let from = 5000 + u16::from(input.byte() & 15);
    let mut message = [from.to_be_bytes(), to.to_be_bytes()].concat();
    message.extend(u16::try_from(8 + body.len()).unwrap_or(8).to_be_bytes());
    message.extend([0, 0]);
    message.extend(body);
    ip(UDP, &message, GATEWAY)
}

fn other(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = |count: usize| (0..count).map(|_| input.byte()).collect::<Vec<u8>>();
    if bytes(1)[0] & 1 == 0 {
        let mut message = vec![8, 0, 0, 0];
        message.extend(bytes(20));
        return ip(ICMP, &message, GATEWAY);
    }
    let kind = 128 + bytes(1)[0] % 10;
    let len = bytes(1)[0];
    let mut frame = ethernet([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0, 0, len, 58, 255, 0xfe, 0x80]);
    frame.resize(14 + 24, 1);
    frame.extend([0xfd, 0x69, 0x6e, 0x6e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    frame.extend([kind, 0, 0, 0]);
    frame.extend(bytes(usize::from(len)));
    frame
}

/// The host's programs do something.
fn host(world: &mut World, input: &mut Input<'_>) {
    match input.byte() & 7 {
        0 => {
            if let Ok((stream, _)) = world.listener.accept() {
                let _ = stream.set_nonblocking(true);
                world.streams.push(stream);
            }
        }
        1 if world.calls > 0 => {
            world.calls -= 1;
            let stream = TcpStream::connect(world.published[0]);
            if let Ok(stream) = stream {
                let _ = stream.set_nonblocking(true);
                world.streams.push(stream);
            }
        }
        2 => {
            let len = usize::from(input.u16());
            let _ = world.datagrams.send_to(&vec![1; len], world.published[1]);
        }
        3 => {
            let mut buffer = [0; 2048];
            if let Ok((len, from)) = world.datagrams.recv_from(&mut buffer) {
                let _ = world.datagrams.send_to(&buffer[..len], from);
            }
        }
        4 => {
            world.streams.pop();
        }
        what => {
            if let Some(stream) = world.streams.last_mut() {
                let len = usize::from(input.u16()) * 8;
                let _ = if what == 5 {
                    stream.write(&vec![2; len])
                } else {
                    stream.read(&mut vec![0; len])
                };
            }
        }
    }
    world.streams.truncate(16);
}

/// The guest takes some of what there is for it.
fn take(link: &mut UserLink, heard: &mut Heard, pattern: u8) {
    link.turn();
    for step in 0..32 {
        let refused = pattern >> (step % 8) & 1 != 0;
        let more = link.receive(&mut |frame| {
            assert!(frame.len() >= 14 && frame.len() <= MAX_FRAME);
            if !refused {
                listen(heard, &frame.to_vec());
            }
            !refused
        });
        if !more {
            break;
        }
    }
}

fn listen(heard: &mut Heard, frame: &[u8]) {
    if frame.len() < 54 || frame[12..14] != [8, 0] || frame[23] != TCP {
        return;
    }
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
    let marks = u32::from(frame[47] & 1) + u32::from(frame[47] >> 1 & 1);
    let data = u32::try_from(frame.len() - 34 - usize::from(frame[46] >> 4) * 4).unwrap_or(0);
    heard.ports = [word(36), word(34)];
    heard.sequence = long(42);
    heard.acknowledged = long(38).wrapping_add(data).wrapping_add(marks);
}
