//! The virtio-serial port to the host, and a connection by vsock in its place. Spec: virtio 1.2, "Console Device"; Linux names each port in
//! /sys/class/virtio-ports/NODE/name.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::frame::{Decoder, Kind, MAX_PAYLOAD, Request, VERSION, encode};
use crate::sys_raw;

const NAME: &str = "innkeeper.agent";
const PATIENCE: Duration = Duration::from_secs(10);
/// Above this much unsent output the children are no longer read.
const OUTBOX_LIMIT: usize = 4 * MAX_PAYLOAD;

#[derive(Debug)]
pub(crate) struct Port {
    device: OwnedFd,
    decoder: Decoder,
    outbox: VecDeque<u8>,
}

impl Port {
    /// Waits until the port is there; `None` when the machine has none of that name.
    pub(crate) fn open() -> Option<Self> {
        let deadline = Instant::now() + PATIENCE;
        let node = loop {
            match find() {
                Some(node) => break node,
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = rustix::fs::open(format!("/dev/{node}"), flags, Mode::empty()).ok()?;
        Some(Self {
            device,
            decoder: Decoder::default(),
            outbox: VecDeque::new(),
        })
    }

    /// Calls the host by vsock.
    pub(crate) fn call(number: u32) -> io::Result<Self> {
        Ok(Self {
            device: sys_raw::call_host(number)?,
            decoder: Decoder::default(),
            outbox: VecDeque::new(),
        })
    }

    /// What it says first, to whoever may listen.
    pub(crate) fn greet(&mut self, nonce: [u8; 16]) {
        let mut hello = VERSION.to_le_bytes().to_vec();
        hello.extend(nonce);
        self.send(Kind::Hello, 0, &hello);
    }

    pub(crate) fn send(&mut self, kind: Kind, job: u32, payload: &[u8]) {
        encode(&mut self.outbox, kind, job, payload);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX_LIMIT
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Writes as much as the port takes now.
    pub(crate) fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match rustix::io::write(&self.device, self.outbox.as_slices().0) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes everything, waiting for the host; for the last words before the end.
    pub(crate) fn drain(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.has_output() && Instant::now() < deadline {
            self.flush();
            if self.has_output() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Reads what has come. `Ok(false)` when the host is not connected.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; MAX_PAYLOAD];
        match rustix::io::read(&self.device, buffer.as_mut_slice()) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Request> {
        self.decoder.next()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn find() -> Option<String> {
    fs::read_dir("/sys/class/virtio-ports")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let name = fs::read_to_string(entry.path().join("name")).ok()?;
            (name.trim_end() == NAME).then(|| entry.file_name().to_string_lossy().into_owned())
        })
}
