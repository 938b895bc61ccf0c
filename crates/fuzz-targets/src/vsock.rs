//! Connections between guest and host: a guest that sends any packets, programs of the host that do
//! anything, and somebody who is asked for connections and answers what they like.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use devices::virtio::VsockOptions;
use devices::virtio::vsock::packet::{HEADER_LEN, HOST, Header, MOST_DATA, STREAM};
use devices::virtio::vsock::{Exchange, MOST_CONNECTIONS, MOST_FROM_GUEST};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};

use crate::{Input, strict};

const CID: u32 = 3;
/// Of one connection towards the host, as the device has it.
const WINDOW: usize = 64 << 10;
/// Ends of the host that this keeps; older ones are closed.
const KEPT: usize = 32;

struct World {
    exchange: Exchange,
    asked: OwnedFd,
    ends: Vec<UnixStream>,
    /// Packets that the guest has been sent: ports to name again.
    ports: Vec<(u32, u32)>,
}

pub(crate) fn vsock(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let Ok((ours, asked)) = pair else { return };
    let exchange = Exchange::new(VsockOptions {
        cid: CID,
        listener: None,
        outward: Some(ours),
    });
    let mut world = World {
        exchange: exchange.expect("descriptors"),
        asked,
        ends: Vec::new(),
        ports: Vec::new(),
    };
    while !input.is_empty() {
        world.step(&mut input);
        assert!(world.exchange.count() <= MOST_CONNECTIONS);
        assert!(world.exchange.held() <= world.exchange.count() * WINDOW);
    }
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() & 15 {
            0..=5 => self.guest_says(input),
            6 | 7 => self.guest_takes(input),
            8 => {
                if let Ok((end, theirs)) = UnixStream::pair() {
                    self.exchange.connect(theirs.into(), input.u32() & 7);
                    self.keep(end);
                }
            }
            9 => self.answer(input),
            10 => {
                if let Some(end) = self.end(input) {
                    let _ = end.write(&vec![b'h'; usize::from(input.u16())]);
                }
            }
            11 => {
                if let Some(end) = self.end(input) {
                    let _ = end.read(&mut vec![0; usize::from(input.u16())]);
                }
            }
            12 => {
                let ways = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                if let Some(end) = self.end(input) {
                    let _ = end.shutdown(input.choose(&ways));
                }
            }
            13 if !self.ends.is_empty() => {
                let at = usize::from(input.byte()) % self.ends.len();
                self.ends.swap_remove(at);
            }
            14 if input.byte() == 0 => self.exchange.clear(),
            _ => {
                self.exchange.turn();
            }
        }
    }

    fn guest_says(&mut self, input: &mut Input<'_>) {
        if self.exchange.is_full() {
            return;
        }
        let mut header = [0; HEADER_LEN];
        let known = self.ports.get(usize::from(input.byte())).copied();
        let ports = known.unwrap_or((input.u32() & 7, input.u32() & 7));
        let len = usize::from(input.u16()) * usize::from(input.byte() & 3);
        let odd = input.byte();
        let made = Header {
            src_cid: if odd == 1 { input.u64() } else { CID.into() },
            dst_cid: if odd == 2 { input.u64() } else { HOST },
            src_port: ports.1,
            dst_port: ports.0,
            len: u32::try_from(len).unwrap_or(0),
            kind: if odd == 3 { input.u16() } else { STREAM },
            op: u16::from(input.byte() & 15) % 9,
            flags: u32::from(input.byte()),
            buf_alloc: input.u32(),
            fwd_cnt: input.u32(),
        };
        header.copy_from_slice(&made.to_bytes());
        assert_eq!(Header::from_bytes(&header), made);
        let data = vec![b'g'; len.min(MOST_DATA)];
        self.exchange.hear(&made, &data);
    }

    fn guest_takes(&mut self, input: &mut Input<'_>) {
        let room = usize::from(input.u16()) + 1;
        let many = input.byte();
        for _ in 0..many {
            let Some(packet) = self.exchange.packet(room) else {
                break;
            };
            assert!(packet.data.len() <= room.min(MOST_DATA));
            assert_eq!(packet.header.src_cid, HOST);
            let ports = (packet.header.src_port, packet.header.dst_port);
            if self.ports.len() < usize::from(u8::MAX) {
                self.ports.push(ports);
            }
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let mut question = [0; 8];
        let mut asked = 0;
        while asked <= MOST_FROM_GUEST
            && recv(&self.asked, &mut question, RecvFlags::empty()).is_ok()
        {
            asked += 1;
            let (end, theirs) = match UnixStream::pair() {
                Ok(pair) => pair,
                Err(_) => return,
            };
            let honest = input.byte();
            if honest & 3 == 1 {
                question[..4].copy_from_slice(&input.u32().to_ne_bytes());
            }
            let message = &question[..if honest == 2 { 5 } else { 8 }];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds = [theirs.as_fd()];
            if honest & 12 != 4 {
                ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            }
            let bytes = [IoSlice::new(message)];
            let _ = sendmsg(&self.asked, &bytes, &mut ancillary, SendFlags::NOSIGNAL);
            self.keep(end);
        }
    }

    fn end(&mut self, input: &mut Input<'_>) -> Option<&mut UnixStream> {
        let at = usize::from(input.byte()) % self.ends.len().max(1);
        self.ends.get_mut(at)
    }

    fn keep(&mut self, end: UnixStream) {
        let _ = end.set_nonblocking(true);
        self.ends.push(end);
        if self.ends.len() > KEPT {
            self.ends.remove(0);
        }
    }
}
