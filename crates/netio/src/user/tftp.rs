//! What a guest boots from the network: a server of files that are only read, in one directory.
//!
//! There are no timers: whoever has not heard a block asks again, and so a transfer that nobody wants any more
//! costs nothing but its place, which another takes.
//! Spec: RFC 1350, RFC 2347, RFC 2348 (blksize), RFC 2349 (tsize).

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::user::header::{Ends, frame};
use crate::user::packet::{Packet, UDP, word};
use crate::user::plan::Mac;

pub(super) const PORT: u16 = 69;
/// Of our ends of transfers, the first.
const FIRST_PORT: u16 = 49_152;
/// How many go on at a time: the oldest gives way.
const TRANSFERS: usize = 8;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACKNOWLEDGED: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

const NOT_FOUND: u16 = 1;
const REFUSED: u16 = 2;
const ILLEGAL: u16 = 4;
const UNKNOWN: u16 = 5;

const BLOCK: usize = 512;
const LEAST_BLOCK: usize = 8;
/// IPv4, UDP, and what stands before a block.
const HEADERS: usize = 20 + 8 + 4;
const LONGEST_NAME: usize = 512;

/// What a guest is told of booting from the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkBoot {
    /// Files that are offered to it by TFTP.
    pub directory: Option<PathBuf>,
    /// What DHCP says to load.
    pub file: String,
}

#[derive(Debug)]
struct Transfer {
    client: SocketAddr,
    port: u16,
    file: File,
    /// Bytes.
    block: usize,
    /// The block that was sent last; 0 stands for the answer to options.
    last: u64,
    finished: bool,
}

#[derive(Debug)]
pub(super) struct Tftp {
    directory: OwnedFd,
    transfers: Vec<Transfer>,
    begun: u16,
}

/// What a request asks for.
struct Request {
    name: String,
    block: Option<usize>,
    wants_size: bool,
}

impl Tftp {
    pub(super) fn open(directory: &Path) -> io::Result<Tftp> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Tftp {
            directory: open(directory, flags, Mode::empty())?,
            transfers: Vec::new(),
            begun: 0,
        })
    }

    /// Is it a datagram for us?
    pub(super) fn is_for_us(&self, packet: &Packet<'_>) -> bool {
        let port = word(packet.payload, 2);
        let mut transfers = self.transfers.iter();
        packet.destination.is_ipv4()
            && (port == Some(PORT) || transfers.any(|transfer| Some(transfer.port) == port))
    }

    /// The frame that answers a datagram, if it has an answer. `mtu` in bytes.
    pub(super) fn answer(&mut self, to: Mac, packet: &Packet<'_>, mtu: u16) -> Option<Vec<u8>> {
        let (source, port) = (word(packet.payload, 0)?, word(packet.payload, 2)?);
        let message = packet.payload.get(8..)?;
        let client = SocketAddr::new(packet.source, source);
        let (port, answer) = if port == PORT {
            self.begin(client, message, mtu)?
        } else {
            (port, self.go_on(client, port, message)?)
        };
        datagram(to, (packet.destination, port), client, &answer)
    }

    fn begin(&mut self, client: SocketAddr, message: &[u8], mtu: u16) -> Option<(u16, Vec<u8>)> {
        let refused = |code, text| Some((PORT, error(code, text)));
        match word(message, 0)? {
            READ => {}
            WRITE => return refused(REFUSED, "files here are only read"),
            _ => return refused(ILLEGAL, "that begins no transfer"),
        }
        let Some(request) = parse(message.get(2..)?) else {
            return refused(ILLEGAL, "that is no request");
        };
        let Some((file, len)) = self.find(&request.name) else {
            return refused(NOT_FOUND, "there is no such file");
        };
        let most = usize::from(mtu).saturating_sub(HEADERS);
        let block = request.block.map(|block| block.min(most));
        let mut transfer = Transfer {
            client,
            port: FIRST_PORT + self.begun % (u16::MAX - FIRST_PORT),
            file,
            block: block.unwrap_or(BLOCK),
            last: 0,
            finished: false,
        };
        self.begun = self.begun.wrapping_add(1);
        let mut options = Vec::new();
        let mut put = |name: &str, value: u64| {
            options.extend(name.bytes().chain([0]));
            options.extend(value.to_string().bytes().chain([0]));
        };
        if let Some(block) = block {
            put("blksize", block as u64);
        }
        if request.wants_size {
            put("tsize", len);
        }
        let answer = if options.is_empty() {
            transfer.next()?
        } else {
            [&OPTIONS.to_be_bytes()[..], &options].concat()
        };
        // Who asks again has not heard.
        self.transfers.retain(|other| other.client != client);
        if self.transfers.len() == TRANSFERS {
            self.transfers.remove(0);
        }
        let port = transfer.port;
        self.transfers.push(transfer);
        Some((port, answer))
    }

    fn go_on(&mut self, client: SocketAddr, port: u16, message: &[u8]) -> Option<Vec<u8>> {
        let mut transfers = self.transfers.iter();
        let index = transfers.position(|it| it.port == port && it.client == client);
        let Some(index) = index else {
            return Some(error(UNKNOWN, "there is no such transfer"));
        };
        if word(message, 0)? != ACKNOWLEDGED {
            // It gives up, or makes no sense.
            self.transfers.remove(index);
            return None;
        }
        let acknowledged = word(message, 2)?;
        let transfer = &mut self.transfers[index];
        let short = |block: u64| (block & 0xffff) as u16;
        if acknowledged != short(transfer.last) {
            // It has not heard the last one, or has heard another twice.
            let before = transfer.last.checked_sub(1).map(short);
            return (before == Some(acknowledged))
                .then(|| transfer.read(transfer.last))
                .flatten();
        }
        if transfer.finished {
            self.transfers.remove(index);
            return None;
        }
        transfer.next()
    }

    /// A file in the directory, and its length. Its name may go nowhere else, whatever links there are.
    fn find(&self, name: &str) -> Option<(File, u64)> {
        let name = name.replace('\\', "/");
        let name = name.trim_start_matches('/');
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.directory, name, flags, Mode::empty(), inside).ok()?;
        let file = File::from(opened);
        let facts = file.metadata().ok()?;
        facts.is_file().then_some((file, facts.len()))
    }
}

impl Transfer {
    fn next(&mut self) -> Option<Vec<u8>> {
        let message = self.read(self.last + 1)?;
        self.last += 1;
        self.finished = message.len() < 4 + self.block;
        Some(message)
    }

    /// The message with a block; the first is 1.
    fn read(&self, block: u64) -> Option<Vec<u8>> {
        let mut message = DATA.to_be_bytes().to_vec();
        message.extend(((block & 0xffff) as u16).to_be_bytes());
        message.resize(4 + self.block, 0);
        let from = block.checked_sub(1)? * self.block as u64;
        let mut done = 4;
        while done < message.len() {
            match self
                .file
                .read_at(&mut message[done..], from + (done - 4) as u64)
            {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Some(error(NOT_FOUND, "the file cannot be read")),
            }
        }
        message.truncate(done);
        Some(message)
    }
}

/// A name, a mode, and pairs of options and values, each with a zero behind it.
fn parse(message: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(message.strip_suffix(&[0])?).ok()?;
    let mut words = text.split('\0');
    let (name, mode) = (words.next()?, words.next()?);
    if name.is_empty() || name.len() > LONGEST_NAME || !mode.eq_ignore_ascii_case("octet") {
        return None;
    }
    let mut request = Request {
        name: name.to_owned(),
        block: None,
        wants_size: false,
    };
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        if option.eq_ignore_ascii_case("blksize") {
            let block = value.parse::<usize>().ok();
            request.block = block.filter(|block| *block >= LEAST_BLOCK);
        }
        request.wants_size |= option.eq_ignore_ascii_case("tsize");
    }
    Some(request)
}

fn error(code: u16, text: &str) -> Vec<u8> {
    let mut message = ERROR.to_be_bytes().to_vec();
    message.extend(code.to_be_bytes());
    message.extend(text.bytes().chain([0]));
    message
}

fn datagram(
    to: Mac,
    (server, port): (IpAddr, u16),
    client: SocketAddr,
    data: &[u8],
) -> Option<Vec<u8>> {
    let ends = Ends::new(server, client.ip())?;
    let mut message = port.to_be_bytes().to_vec();
    message.extend(client.port().to_be_bytes());
    message.extend(u16::try_from(8 + data.len()).ok()?.to_be_bytes());
    message.extend([0, 0]);
    message.extend(data);
    Some(frame(to, ends, UDP, &mut message, 6, true))
}

#[cfg(test)]
mod tests;
