#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};

use super::packet::{HEADER_LEN, HOST, Header, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, STREAM, op};
use super::{F_STREAM, MOST_CONNECTIONS, MOST_FROM_GUEST, Vsock, VsockHandle, VsockOptions};
use crate::pci::PciFunction;
use crate::virtio::testing::{Buffer, Driver, wait_until};

const CID: u64 = 42;
const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;
const NEEDS_RESET: u8 = 64;
const WINDOW: u32 = 64 << 10;

/// A guest with the device, and the host's ends of it.
struct Setup {
    driver: Driver,
    handle: VsockHandle,
    /// Where the device asks for connections.
    asked: OwnedFd,
    path: std::path::PathBuf,
    // Keeps the listener's name until the test is over.
    _directory: Directory,
}

struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn directory() -> Directory {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("vsock-tests-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    Directory(path)
}

fn device(path: &std::path::Path) -> (Vsock, OwnedFd) {
    let listener = UnixListener::bind(path).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let (ours, asked) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let device = Vsock::new(VsockOptions {
        cid: CID as u32,
        listener: Some(listener.into()),
        outward: Some(ours),
    });
    (device.unwrap(), asked)
}

fn setup() -> Setup {
    let directory = directory();
    let path = directory.0.join("vsock");
    let (device, asked) = device(&path);
    let handle = device.handle();
    let mut driver = Driver::new(device);
    driver.start(F_STREAM);
    Setup {
        driver,
        handle,
        asked,
        path,
        _directory: directory,
    }
}

fn packet(op: u16, guest_port: u32, host_port: u32) -> Header {
    Header {
        src_cid: CID,
        dst_cid: HOST,
        src_port: guest_port,
        dst_port: host_port,
        len: 0,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: 1 << 20,
        fwd_cnt: 0,
    }
}

impl Setup {
    fn send(&mut self, mut header: Header, data: &[u8]) {
        header.len = data.len() as u32;
        let bytes = [&header.to_bytes()[..], data].concat();
        self.driver.submit(TX, &[Buffer::Out(&bytes)]);
        self.driver.answer(TX);
    }

    /// The next packet for the guest.
    fn next(&mut self) -> (Header, Vec<u8>) {
        let head = self.driver.submit(RX, &[Buffer::In(4096)]);
        let (answered, len) = self.driver.answer(RX);
        assert_eq!(answered, head);
        let mut bytes = self.driver.written(RX, head);
        bytes.truncate(len as usize);
        let data = bytes.split_off(HEADER_LEN);
        let header = Header::from_bytes(&bytes.try_into().unwrap());
        assert_eq!((header.src_cid, header.dst_cid), (HOST, CID));
        assert_eq!(header.len as usize, data.len());
        (header, data)
    }

    fn expect(&mut self, op: u16) -> Header {
        let (header, _) = self.next();
        assert_eq!(header.op, op, "{header:?}");
        header
    }

    /// A client of the host's socket, connected to `port` of the guest; and its port.
    fn client(&mut self, port: u32) -> (UnixStream, u32) {
        let mut client = UnixStream::connect(&self.path).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        writeln!(client, "CONNECT {port}").unwrap();
        let request = self.expect(op::REQUEST);
        assert_eq!((request.dst_port, request.kind), (port, STREAM));
        assert_eq!(request.buf_alloc, WINDOW);
        self.send(packet(op::RESPONSE, port, request.src_port), &[]);
        assert_eq!(line(&mut client), format!("OK {}\n", request.src_port));
        (client, request.src_port)
    }

    /// Answers the device's next question for a connection; `None`: there is nobody.
    fn answer(&self, port: u32, stream: Option<&UnixStream>) {
        let mut question = [0; 8];
        recv(&self.asked, &mut question, RecvFlags::empty()).unwrap();
        assert_eq!(question[4..], port.to_ne_bytes());
        let errno: i32 = if stream.is_some() { 0 } else { 111 };
        question[4..].copy_from_slice(&errno.to_ne_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = stream.iter().map(|stream| stream.as_fd()).collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let bytes = [IoSlice::new(&question)];
        sendmsg(&self.asked, &bytes, &mut ancillary, SendFlags::empty()).unwrap();
    }
}

fn line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && stream.read(&mut byte).unwrap() > 0 {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn the_guest_reads_its_address() {
    let mut setup = setup();
    let device = setup.driver.device;
    assert_eq!(setup.driver.function_read(device, 8), CID);
}

#[test]
fn a_program_of_the_host_connects_and_both_speak() {
    let mut setup = setup();
    let (mut client, port) = setup.client(80);
    client.write_all(b"hello guest").unwrap();
    let (header, data) = setup.next();
    assert_eq!(
        (header.op, header.src_port, header.dst_port),
        (op::RW, port, 80)
    );
    assert_eq!(data, b"hello guest");
    setup.send(packet(op::RW, 80, port), b"hello host\n");
    assert_eq!(line(&mut client), "hello host\n");
    // Half closed by each side in turn.
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(setup.expect(op::SHUTDOWN).flags, SHUT_SEND);
    setup.send(packet(op::RW, 80, port), b"last\n");
    assert_eq!(line(&mut client), "last\n");
    let mut end = packet(op::SHUTDOWN, 80, port);
    end.flags = SHUT_BOTH;
    setup.send(end, &[]);
    setup.expect(op::RST);
    assert_eq!(line(&mut client), "");
}

#[test]
fn what_follows_the_greeting_at_once_is_for_the_guest() {
    let mut setup = setup();
    let mut client = UnixStream::connect(&setup.path).unwrap();
    client.write_all(b"CONNECT 7\nearly").unwrap();
    let port = setup.expect(op::REQUEST).src_port;
    setup.send(packet(op::RESPONSE, 7, port), &[]);
    assert_eq!(setup.next().1, b"early");
}

#[test]
fn a_port_that_nobody_has_ends_the_client() {
    let mut setup = setup();
    for words in ["CONNECT 9\n", "HELLO\n"] {
        let mut client = UnixStream::connect(&setup.path).unwrap();
        client.write_all(words.as_bytes()).unwrap();
        if words.starts_with("CONNECT") {
            let port = setup.expect(op::REQUEST).src_port;
            setup.send(packet(op::RST, 9, port), &[]);
        }
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_program_of_the_guest_connects() {
    let mut setup = setup();
    setup.send(packet(op::REQUEST, 1000, 52), &[]);
    let (mut host, theirs) = UnixStream::pair().unwrap();
    setup.answer(52, Some(&theirs));
    drop(theirs);
    let response = setup.expect(op::RESPONSE);
    assert_eq!((response.src_port, response.dst_port), (52, 1000));
    setup.send(packet(op::RW, 1000, 52), b"from the guest\n");
    assert_eq!(line(&mut host), "from the guest\n");
    host.write_all(b"answer").unwrap();
    drop(host);
    assert_eq!(setup.next().1, b"answer");
    assert_eq!(setup.expect(op::SHUTDOWN).flags, SHUT_BOTH);
    // Over: what the guest still says of it is refused.
    setup.send(packet(op::CREDIT_UPDATE, 1000, 52), &[]);
    setup.expect(op::RST);
}

#[test]
fn a_guest_that_calls_nobody_is_refused() {
    let mut setup = setup();
    setup.send(packet(op::REQUEST, 1000, 53), &[]);
    setup.answer(53, None);
    assert_eq!(setup.expect(op::RST).dst_port, 1000);
    // Somebody who would be asked has gone.
    let (_, gone) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    setup.send(packet(op::REQUEST, 1001, 53), &[]);
    setup.asked = gone;
    assert_eq!(setup.expect(op::RST).dst_port, 1001);
    setup.send(packet(op::REQUEST, 1002, 53), &[]);
    assert_eq!(setup.expect(op::RST).dst_port, 1002);
}

#[test]
fn this_process_connects_without_words() {
    let mut setup = setup();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    assert!(setup.handle.connect(theirs.into(), 1023));
    let port = setup.expect(op::REQUEST).src_port;
    setup.send(packet(op::RESPONSE, 1023, port), &[]);
    setup.send(packet(op::RW, 1023, port), b"hello\n");
    assert_eq!(line(&mut ours), "hello\n");
}

#[test]
fn nothing_is_sent_without_credit() {
    let mut setup = setup();
    let mut client = UnixStream::connect(&setup.path).unwrap();
    client.write_all(b"CONNECT 5\n0123456789").unwrap();
    let port = setup.expect(op::REQUEST).src_port;
    let mut response = packet(op::RESPONSE, 5, port);
    response.buf_alloc = 4;
    setup.send(response, &[]);
    assert_eq!(setup.next().1, b"0123");
    setup.expect(op::CREDIT_REQUEST);
    let mut update = packet(op::CREDIT_UPDATE, 5, port);
    (update.buf_alloc, update.fwd_cnt) = (4, 3);
    setup.send(update, &[]);
    assert_eq!(setup.next().1, b"456");
    setup.expect(op::CREDIT_REQUEST);
    // A guest that has taken more than it was sent has no credit, rather than endless.
    update.fwd_cnt = 1000;
    setup.send(update, &[]);
    let mut asks = packet(op::CREDIT_REQUEST, 5, port);
    (asks.buf_alloc, asks.fwd_cnt) = (4, 1000);
    setup.send(asks, &[]);
    setup.expect(op::CREDIT_UPDATE);
    update.fwd_cnt = 7;
    setup.send(update, &[]);
    assert_eq!(setup.next().1, b"789");
}

#[test]
fn a_host_that_does_not_read_stops_the_guest_and_one_that_goes_on_is_reset() {
    let mut setup = setup();
    let (mut client, port) = setup.client(80);
    let piece = vec![b'x'; 16 << 10];
    let (mut sent, mut taken) = (0u32, 0);
    // As much as the guest may, until no more credit comes.
    loop {
        while sent - taken + piece.len() as u32 <= WINDOW {
            setup.send(packet(op::RW, 80, port), &piece);
            sent += piece.len() as u32;
        }
        setup.send(packet(op::CREDIT_REQUEST, 80, port), &[]);
        let told = setup.next().0;
        assert_eq!(told.op, op::CREDIT_UPDATE);
        if told.fwd_cnt == taken {
            break;
        }
        taken = told.fwd_cnt;
    }
    assert!(sent - taken > WINDOW - piece.len() as u32);
    // It arrives when the host reads, and the guest hears of room.
    let mut got = vec![0; sent as usize];
    client.read_exact(&mut got).unwrap();
    assert!(got.iter().all(|byte| *byte == b'x'));
    assert_eq!(setup.expect(op::CREDIT_UPDATE).fwd_cnt, sent);
    // Beyond the window.
    let more = vec![b'y'; WINDOW as usize];
    loop {
        setup.send(packet(op::RW, 80, port), &more);
        let told = setup.next().0;
        if told.op == op::RST {
            break;
        }
        assert_eq!(told.op, op::CREDIT_UPDATE);
    }
    client.set_nonblocking(true).unwrap();
    let mut rest = vec![0; 1 << 20];
    while !matches!(client.read(&mut rest), Ok(0)) {}
}

#[test]
fn packets_that_make_no_sense_are_answered_or_dropped() {
    let mut setup = setup();
    let (_client, port) = setup.client(80);
    // Of nobody, for nobody: no answer.
    for (src, dst) in [(CID + 1, HOST), (CID, HOST + 1), (u64::MAX, u64::MAX)] {
        let mut header = packet(op::RW, 80, port);
        (header.src_cid, header.dst_cid) = (src, dst);
        setup.send(header, b"lost");
    }
    let long = [&[0xff; HEADER_LEN][..], b"data"].concat();
    for bytes in [&[][..], &[0; HEADER_LEN - 1], &[0; HEADER_LEN], &long] {
        setup.driver.submit(TX, &[Buffer::Out(bytes)]);
        setup.driver.answer(TX);
    }
    setup.send(packet(op::RST, 1, 2), &[]);
    // Of connections that are not there, of other kinds, without meaning: refused.
    for (op, kind) in [(op::RW, STREAM), (op::RESPONSE, STREAM), (77, STREAM)] {
        let mut header = packet(op, 4000, 5);
        header.kind = kind;
        setup.send(header, &[]);
        assert_eq!(setup.expect(op::RST).dst_port, 4000);
    }
    let mut datagram = packet(op::REQUEST, 4001, 5);
    datagram.kind = 3;
    setup.send(datagram, &[]);
    assert_eq!(setup.expect(op::RST).dst_port, 4001);
    // Against the rules of one that is there.
    setup.send(packet(op::RESPONSE, 80, port), &[]);
    setup.expect(op::RST);
    let (_second, port) = setup.client(80);
    setup.send(packet(op::REQUEST, 80, port), &[]);
    setup.expect(op::RST);
    let (_third, port) = setup.client(80);
    let mut end = packet(op::SHUTDOWN, 80, port);
    end.flags = SHUT_SEND;
    setup.send(end, &[]);
    setup.send(packet(op::RW, 80, port), b"after the end");
    setup.expect(op::RST);
    assert_eq!(setup.driver.status() & NEEDS_RESET, 0);
}

#[test]
fn a_flood_of_connections_from_the_guest_leaves_room_for_the_host() {
    let mut setup = setup();
    let mut keepers = Vec::new();
    for port in 0..MOST_FROM_GUEST as u32 {
        setup.send(packet(op::REQUEST, port, 52), &[]);
        let (host, theirs) = UnixStream::pair().unwrap();
        setup.answer(52, Some(&theirs));
        setup.expect(op::RESPONSE);
        keepers.push(host);
    }
    setup.send(packet(op::REQUEST, 5000, 52), &[]);
    assert_eq!(setup.expect(op::RST).dst_port, 5000);
    let (_client, _) = setup.client(80);
    setup.send(packet(op::RST, 0, 52), &[]);
    setup.send(packet(op::REQUEST, 5000, 52), &[]);
    let (_host, theirs) = UnixStream::pair().unwrap();
    setup.answer(52, Some(&theirs));
    setup.expect(op::RESPONSE);
}

#[test]
fn clients_beyond_the_most_wait_until_others_go() {
    let mut setup = setup();
    let connect = |_| UnixStream::connect(&setup.path).unwrap();
    let silent: Vec<_> = (0..MOST_CONNECTIONS).map(connect).collect();
    let mut late = UnixStream::connect(&setup.path).unwrap();
    late.write_all(b"CONNECT 80\n").unwrap();
    drop(silent);
    assert_eq!(setup.expect(op::REQUEST).dst_port, 80);
}

#[test]
fn refusals_that_the_guest_does_not_take_hold_its_packets_up() {
    let mut setup = setup();
    for _ in 0..256 {
        setup.send(packet(op::RW, 1, 2), &[]);
    }
    let stray = packet(op::RW, 1, 3).to_bytes();
    for _ in 0..10 {
        setup.driver.submit(TX, &[Buffer::Out(&stray)]);
    }
    for number in 0..266 {
        let refusal = setup.expect(op::RST);
        assert_eq!(refusal.src_port, if number < 256 { 2 } else { 3 });
    }
    for _ in 0..10 {
        setup.driver.answer(TX);
    }
}

#[test]
fn a_buffer_without_room_for_a_header_breaks_the_device() {
    let mut setup = setup();
    setup.driver.submit(RX, &[Buffer::In(HEADER_LEN as u32)]);
    setup.send(packet(op::RW, 1, 2), &[]);
    wait_until(|| setup.driver.status() & NEEDS_RESET != 0);
    setup.driver.start(F_STREAM);
    let _ = setup.client(80);
}

#[test]
fn a_reset_of_the_driver_ends_all_connections() {
    let mut setup = setup();
    let (mut client, _) = setup.client(80);
    setup.driver.start(F_STREAM);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let _ = setup.client(80);
}

#[test]
fn a_client_that_gives_up_before_the_guest_answers_is_forgotten() {
    let mut setup = setup();
    let mut client = UnixStream::connect(&setup.path).unwrap();
    client.write_all(b"CONNECT 80\n").unwrap();
    let port = setup.expect(op::REQUEST).src_port;
    drop(client);
    setup.expect(op::RST);
    setup.send(packet(op::RESPONSE, 80, port), &[]);
    setup.expect(op::RST);
}

#[test]
fn a_guest_that_stops_receiving_still_sends() {
    let mut setup = setup();
    let (mut client, port) = setup.client(80);
    let mut end = packet(op::SHUTDOWN, 80, port);
    end.flags = SHUT_RECEIVE;
    setup.send(end, &[]);
    client.write_all(b"not wanted").unwrap();
    setup.send(packet(op::RW, 80, port), b"still here\n");
    assert_eq!(line(&mut client), "still here\n");
    drop(client);
    assert_eq!(setup.expect(op::SHUTDOWN).flags, SHUT_BOTH);
}

#[test]
fn a_restored_guest_hears_that_its_connections_are_gone() {
    let mut before = setup();
    let (mut client, port) = before.client(80);
    before.driver.submit(EVENT, &[Buffer::In(4)]);
    before.driver.function.quiesce();
    let saved = before.driver.function.save();
    let elsewhere = directory();
    let path = elsewhere.0.join("vsock");
    let (device, asked) = device(&path);
    let handle = device.handle();
    let mut driver = Driver::with_memory(device, before.driver.memory.clone());
    driver.function.restore(&saved).unwrap();
    assert_eq!(driver.function.save(), saved);
    driver.continue_from(before.driver);
    let mut after = Setup {
        driver,
        handle,
        asked,
        path,
        _directory: elsewhere,
    };
    after.driver.function.resume();
    assert_eq!(after.driver.answer(EVENT).1, 4);
    after.send(packet(op::RW, 80, port), b"still there?");
    after.expect(op::RST);
    let (mut second, port) = after.client(80);
    after.send(packet(op::RW, 80, port), b"anew\n");
    assert_eq!(line(&mut second), "anew\n");
    // The old device has gone, with its end of the client's socket.
    let gone = client.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(gone, Ok(0) | Err(ErrorKind::ConnectionReset)));
}
