//! Whom the guest calls on the host is asked of somebody else, who may connect by name.
//!
//! Over a socket of messages (`SOCK_SEQPACKET`): a question is `number: u32, port: u32` in the host's
//! order of bytes, its answer `number: u32, errno: i32`, with the connected socket as a descriptor where
//! the error is 0. Questions are answered in any order. python/innkeeper/vm/vsock.py is who is asked.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

const MESSAGE: usize = 8;

/// One who can be asked.
#[derive(Debug)]
pub(super) struct Outward {
    socket: OwnedFd,
}

/// What was answered to question `number`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) number: u32,
    pub(super) connected: Option<OwnedFd>,
}

impl Outward {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Outward> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Outward { socket })
    }

    /// Asks for a connection to `port`. `false` when nobody hears.
    pub(super) fn ask(&self, number: u32, port: u32) -> bool {
        let mut message = [0; MESSAGE];
        message[..4].copy_from_slice(&number.to_ne_bytes());
        message[4..].copy_from_slice(&port.to_ne_bytes());
        send(&self.socket, &message, SendFlags::NOSIGNAL) == Ok(MESSAGE)
    }

    /// The next answer that has come. An error when no more will come.
    pub(super) fn answer(&self) -> Result<Option<Answer>, Errno> {
        let mut message = [0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let into = &mut [IoSliceMut::new(&mut message)];
        let received = match recvmsg(&self.socket, into, &mut ancillary, flags) {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error),
        };
        if received != MESSAGE {
            return Err(Errno::CONNRESET);
        }
        let [a, b, c, d, _, _, _, _] = message;
        let number = u32::from_ne_bytes([a, b, c, d]);
        let connected = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(Some(Answer { number, connected }))
    }
}

impl AsFd for Outward {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
