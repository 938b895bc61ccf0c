//! Against a TCP/IP of somebody else's as the guest, and the host's own on the other side.

#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

mod guest;
mod hostile;
mod offloads;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use smoltcp::socket::dhcpv4;
use smoltcp::socket::tcp::State;
use smoltcp::wire::IpAddress;

use super::{Forward, Protocol, UserLink, UserOptions};

use guest::{GATEWAY, GATEWAY6, Guest};

fn reaching_host() -> Guest {
    Guest::new(&UserOptions {
        reach_host: true,
        ..UserOptions::default()
    })
}

fn publishing(protocol: Protocol, guest_port: u16) -> (Guest, SocketAddr) {
    let guest = Guest::new(&UserOptions {
        forwards: vec![Forward {
            protocol,
            host: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            guest_port,
        }],
        ..UserOptions::default()
    });
    let at = guest.link.published()[0];
    (guest, at)
}

/// A host's end that does not block.
fn accepted(guest: &mut Guest, listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut stream = None;
    guest.until("the host accepts", |_| {
        stream = listener.accept().ok().map(|(stream, _)| stream);
        stream.is_some()
    });
    let stream = stream.unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Sends `bytes` from the guest and reads them at the host.
fn guest_to_host(guest: &mut Guest, stream: &mut TcpStream, bytes: &[u8]) {
    let (mut sent, mut got) = (0, Vec::new());
    let mut buffer = vec![0; 1 << 16];
    guest.until("all bytes came to the host", |guest| {
        sent += guest.put(&bytes[sent..]);
        match stream.read(&mut buffer) {
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        got.len() == bytes.len()
    });
    assert!(got == bytes);
}

fn host_to_guest(guest: &mut Guest, stream: &mut TcpStream, bytes: &[u8]) {
    let (mut sent, mut got) = (0, Vec::new());
    guest.until("all bytes came to the guest", |guest| {
        if sent < bytes.len() {
            match stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        got.extend(guest.take());
        got.len() == bytes.len()
    });
    assert!(got == bytes);
}

fn conversation(gateway: IpAddress, host: &str) {
    let listener = TcpListener::bind(host).unwrap();
    let mut guest = reaching_host();
    guest.connect(gateway, listener.local_addr().unwrap().port());
    let mut stream = accepted(&mut guest, &listener);
    let bytes = pattern(3_000_000);
    guest_to_host(&mut guest, &mut stream, &bytes);
    host_to_guest(&mut guest, &mut stream, &bytes);
    guest.tcp().close();
    let mut end = [0];
    guest.until("the host reads the end", |_| {
        matches!(stream.read(&mut end), Ok(0))
    });
    host_to_guest(&mut guest, &mut stream, b"and still speaks");
    drop(stream);
    guest.until("the flow is gone", |guest| guest.link.flows().tcp == 0);
    assert!(matches!(
        guest.tcp().state(),
        State::TimeWait | State::Closed
    ));
}

#[test]
fn the_guest_talks_to_a_server() {
    conversation(GATEWAY.into(), "127.0.0.1:0");
}

#[test]
fn the_guest_talks_to_a_server_by_ipv6() {
    conversation(GATEWAY6.into(), "[::1]:0");
}

#[test]
fn the_host_may_end_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut guest = reaching_host();
    guest.connect(GATEWAY.into(), listener.local_addr().unwrap().port());
    let mut stream = accepted(&mut guest, &listener);
    stream.write_all(b"goodbye").unwrap();
    drop(stream);
    let mut got = Vec::new();
    guest.until("the guest reads the end", |guest| {
        got.extend(guest.take());
        guest.tcp().state() == State::CloseWait && got.len() == 7
    });
    guest.tcp().close();
    guest.until("the flow is gone", |guest| guest.link.flows().tcp == 0);
}

#[test]
fn a_connection_that_breaks_breaks_for_both() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = reaching_host();
    guest.connect(GATEWAY.into(), port);
    let stream = accepted(&mut guest, &listener);
    guest.until("it is open", |guest| {
        guest.tcp().state() == State::Established
    });
    guest.put(b"never read");
    guest.run(20);
    // Closing with unread data is a reset.
    drop(stream);
    guest.until("the guest sees it", |guest| {
        guest.tcp().state() == State::Closed
    });
    assert_eq!(guest.link.flows().tcp, 0);
    guest.connect(GATEWAY.into(), port);
    let mut stream = accepted(&mut guest, &listener);
    guest.until("it is open", |guest| {
        guest.tcp().state() == State::Established
    });
    guest.tcp().abort();
    let mut buffer = [0];
    guest.until("the host sees it", |_| {
        stream
            .read(&mut buffer)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    });
}

#[test]
fn nobody_listening_is_a_refusal() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut guest = reaching_host();
    guest.connect(GATEWAY.into(), free.port());
    guest.until("it is refused", |guest| {
        guest.tcp().state() == State::Closed
    });
    assert_eq!(guest.link.flows().tcp, 0);
}

#[test]
fn the_host_is_out_of_reach_unless_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut guest = Guest::new(&UserOptions::default());
    for address in [GATEWAY, Ipv4Addr::LOCALHOST] {
        guest.connect(address.into(), listener.local_addr().unwrap().port());
        guest.until("it is refused", |guest| {
            guest.tcp().state() == State::Closed
        });
    }
    assert!(listener.accept().is_err());
}

#[test]
fn a_published_port_leads_to_the_guest() {
    let (mut guest, at) = publishing(Protocol::Tcp, 80);
    guest.tcp().listen(80).unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nonblocking(true).unwrap();
    guest.until("the guest is called", |guest| {
        guest.tcp().state() == State::Established
    });
    let caller = guest.tcp().remote_endpoint().unwrap();
    assert_eq!(caller.addr, GATEWAY.into());
    assert_eq!(caller.port, stream.local_addr().unwrap().port());
    let bytes = pattern(300_000);
    host_to_guest(&mut guest, &mut stream, &bytes);
    guest_to_host(&mut guest, &mut stream, &bytes);
}

#[test]
fn a_guest_that_does_not_listen_breaks_the_client_s_connection() {
    let (mut guest, at) = publishing(Protocol::Tcp, 80);
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0];
    guest.until("the client sees it", |_| {
        stream
            .read(&mut buffer)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    });
    assert_eq!(guest.link.flows().tcp, 0);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = Forward {
        protocol: Protocol::Tcp,
        host: taken.local_addr().unwrap(),
        guest_port: 80,
    };
    let options = UserOptions {
        forwards: vec![forward],
        ..UserOptions::default()
    };
    let told = UserLink::new(&options).unwrap_err().to_string();
    assert!(told.starts_with("cannot publish port"), "{told}");
}

#[test]
fn datagrams_go_and_come() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let mut guest = reaching_host();
    let to = (
        IpAddress::from(GATEWAY),
        server.local_addr().unwrap().port(),
    );
    // One is longer than an Ethernet's packets.
    for len in [0, 1, 1000, 20_000] {
        guest.udp().send_slice(&pattern(len), to).unwrap();
        let mut buffer = vec![0; 70_000];
        let mut got = None;
        guest.until("it comes to the host", |_| {
            got = server.recv_from(&mut buffer).ok();
            got.is_some()
        });
        let (count, from) = got.unwrap();
        assert!(buffer[..count] == pattern(len));
        server.send_to(&buffer[..count], from).unwrap();
        guest.until("it comes back", |guest| guest.udp().can_recv());
        let (data, meta) = guest.udp().recv().unwrap();
        assert!(data == pattern(len) && meta.endpoint.addr == to.0);
    }
    assert_eq!(guest.link.flows().udp, 1);
}

#[test]
fn a_published_port_takes_datagrams_of_many_clients() {
    let (mut guest, at) = publishing(Protocol::Udp, guest::UDP_PORT);
    let clients = [0; 3].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    for (number, client) in (0u8..).zip(&clients) {
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client.send_to(&[number], at).unwrap();
    }
    for _ in &clients {
        guest.until("it comes to the guest", |guest| guest.udp().can_recv());
        let (data, meta) = guest.udp().recv().unwrap();
        let answer = [data[0], 77];
        guest.udp().send_slice(&answer, meta.endpoint).unwrap();
        guest.run(5);
    }
    for (number, client) in (0u8..).zip(&clients) {
        let mut buffer = [0; 9];
        assert_eq!(client.recv(&mut buffer).unwrap(), 2);
        assert_eq!(buffer[..2], [number, 77]);
    }
}

#[test]
fn dhcp_gives_the_address() {
    let mut guest = Guest::unconfigured();
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let mut lease = None;
    guest.until("there is a lease", |guest| {
        let socket = guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
        if let Some(dhcpv4::Event::Configured(config)) = socket.poll() {
            let servers: Vec<IpAddr> = config.dns_servers.iter().map(|it| (*it).into()).collect();
            lease = Some((config.address.to_string(), config.router, servers));
        }
        lease.is_some()
    });
    let resolver: IpAddr = Ipv4Addr::new(10, 0, 2, 3).into();
    assert_eq!(
        lease.unwrap(),
        ("10.0.2.15/24".to_owned(), Some(GATEWAY), vec![resolver])
    );
}

#[test]
fn the_gateway_answers_pings() {
    let mut guest = Guest::new(&UserOptions::default());
    for address in [
        IpAddress::from(GATEWAY),
        GATEWAY6.into(),
        Ipv4Addr::new(10, 0, 2, 3).into(),
    ] {
        assert_eq!(guest.ping(address, b"are you there?"), b"are you there?");
    }
    assert_eq!(guest.link.flows().ping, 0);
}
