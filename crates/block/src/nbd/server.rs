//! A block device for others: whoever connects has it.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::protocol::{
    CAN_MULTI_CONN, COMMAND_FUA, COMMAND_NO_HOLE, DISCONNECT, EINVAL, EIO, ENOMEM, ENOSPC, EPERM,
    ERROR_INVALID, ERROR_UNKNOWN, ERROR_UNSUPPORTED, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, FLUSH,
    HAS_FLAGS, INFO_BLOCK_SIZE, INFO_EXPORT, MAGIC, MAX_REQUEST, OPTION_ABORT, OPTION_EXPORT_NAME,
    OPTION_GO, OPTION_INFO, OPTION_LIST, OPTION_MAGIC, OPTION_REPLY_MAGIC, READ, READ_ONLY,
    REPLY_ACK, REPLY_INFO, REPLY_MAGIC, REPLY_SERVER, REQUEST_MAGIC, SEND_FLUSH, SEND_FUA,
    SEND_TRIM, SEND_WRITE_ZEROES, TRIM, WRITE, WRITE_ZEROES, nonsense, read_data, read_u16,
    read_u32, read_u64,
};
use crate::BlockDevice;

/// Who may be connected at a time.
const MAX_CLIENTS: usize = 16;
/// Options that a client may ask before it goes on.
const MAX_OPTIONS: usize = 64;
const OPTIMAL_BLOCK: u32 = 4096;
/// Zeros after an old client's `EXPORT_NAME`.
const PADDING: usize = 124;

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Lets others have a disk, on a socket.
#[derive(Debug)]
pub struct NbdServer {
    listener: Listener,
    disk: Arc<dyn BlockDevice>,
    clients: Arc<AtomicUsize>,
}

impl NbdServer {
    /// On a Unix socket, which only its user may connect to.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn on_socket(path: &Path, disk: Arc<dyn BlockDevice>) -> io::Result<NbdServer> {
        // Private from its first moment on: by its directory's rights it may be anybody's.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        Ok(NbdServer::new(
            Listener::Unix(bound?, path.to_owned()),
            disk,
        ))
    }

    /// On a port of TCP. Whoever can connect has the disk: there is no password.
    ///
    /// # Errors
    /// When the address is not the host's, or in use.
    pub fn on_port(host: &str, port: u16, disk: Arc<dyn BlockDevice>) -> io::Result<NbdServer> {
        let listener = TcpListener::bind((host, port))?;
        Ok(NbdServer::new(Listener::Tcp(listener), disk))
    }

    fn new(listener: Listener, disk: Arc<dyn BlockDevice>) -> NbdServer {
        NbdServer {
            listener,
            disk,
            clients: Arc::default(),
        }
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok().map(|it| it.port()),
            Listener::Unix(..) => None,
        }
    }

    /// Clients that are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Waits for somebody to connect for a fifth of a second at most; true when somebody did. Each
    /// client is served by a thread of its own.
    ///
    /// # Errors
    /// When the host cannot accept connections.
    pub fn accept(&self) -> io::Result<bool> {
        let fd: BorrowedFd<'_> = match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        };
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                self.serve(stream);
            }
            Listener::Unix(listener, _) => self.serve(listener.accept()?.0),
        }
        Ok(true)
    }

    fn serve(&self, mut stream: impl Read + Write + Send + 'static) {
        if self.clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
            self.clients.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (disk, clients) = (Arc::clone(&self.disk), Arc::clone(&self.clients));
        thread::spawn(move || {
            // A client that breaks off or talks nonsense has gone; others are not concerned.
            let _ = serve_connection(&mut stream, &*disk);
            let _ = disk.flush();
            drop(disk);
            clients.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Serves one client until it goes.
///
/// # Errors
/// When the connection breaks or the client talks nonsense.
pub fn serve_connection(
    stream: &mut (impl Read + Write),
    disk: &dyn BlockDevice,
) -> io::Result<()> {
    let mut greeting = MAGIC.to_be_bytes().to_vec();
    greeting.extend(OPTION_MAGIC.to_be_bytes());
    greeting.extend((FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
    stream.write_all(&greeting)?;
    let theirs = read_u32(stream)?;
    let known = u32::from(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES);
    if theirs & !known != 0 || theirs & u32::from(FLAG_FIXED_NEWSTYLE) == 0 {
        return Err(nonsense("its flags are unknown"));
    }
    let no_zeroes = theirs & u32::from(FLAG_NO_ZEROES) != 0;
    if !negotiate(stream, disk, no_zeroes)? {
        return Ok(());
    }
    while transmit(stream, disk)? {}
    Ok(())
}

fn flags_of(disk: &dyn BlockDevice) -> u16 {
    let flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | CAN_MULTI_CONN;
    if disk.read_only() {
        flags | READ_ONLY
    } else {
        flags | SEND_TRIM | SEND_WRITE_ZEROES
    }
}

/// True when the client goes on to have the disk.
fn negotiate(
    stream: &mut (impl Read + Write),
    disk: &dyn BlockDevice,
    no_zeroes: bool,
) -> io::Result<bool> {
    for _ in 0..MAX_OPTIONS {
        if read_u64(stream)? != OPTION_MAGIC {
            return Err(nonsense("its option is none"));
        }
        let option = read_u32(stream)?;
        let len = read_u32(stream)?;
        let data = read_data(stream, len)?;
        match option {
            OPTION_EXPORT_NAME => {
                // There is one export, of no name; nothing can be refused in words here.
                if !data.is_empty() {
                    return Ok(false);
                }
                let mut reply = disk.len().to_be_bytes().to_vec();
                reply.extend(flags_of(disk).to_be_bytes());
                reply.resize(reply.len() + if no_zeroes { 0 } else { PADDING }, 0);
                stream.write_all(&reply)?;
                return Ok(true);
            }
            OPTION_ABORT => {
                answer(stream, option, REPLY_ACK, &[])?;
                return Ok(false);
            }
            OPTION_LIST if data.is_empty() => {
                answer(stream, option, REPLY_SERVER, &0u32.to_be_bytes())?;
                answer(stream, option, REPLY_ACK, &[])?;
            }
            OPTION_INFO | OPTION_GO => match name_of(&data) {
                None => answer(stream, option, ERROR_INVALID, b"it cannot be read")?,
                Some(name) if !name.is_empty() => {
                    answer(
                        stream,
                        option,
                        ERROR_UNKNOWN,
                        b"there is one export, without a name",
                    )?;
                }
                Some(_) => {
                    let mut info = INFO_EXPORT.to_be_bytes().to_vec();
                    info.extend(disk.len().to_be_bytes());
                    info.extend(flags_of(disk).to_be_bytes());
                    answer(stream, option, REPLY_INFO, &info)?;
                    let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
                    for size in [1, OPTIMAL_BLOCK, MAX_REQUEST] {
                        sizes.extend(size.to_be_bytes());
                    }
                    answer(stream, option, REPLY_INFO, &sizes)?;
                    answer(stream, option, REPLY_ACK, &[])?;
                    if option == OPTION_GO {
                        return Ok(true);
                    }
                }
            },
            _ => answer(stream, option, ERROR_UNSUPPORTED, b"")?,
        }
    }
    Err(nonsense("it does not come to an end"))
}

/// The export's name in the data of `GO` and `INFO`: its length, itself, the infos that are wanted.
fn name_of(mut data: &[u8]) -> Option<Vec<u8>> {
    let len = usize::try_from(read_u32(&mut data).ok()?).ok()?;
    let name = data.get(..len)?.to_vec();
    let mut rest = data.get(len..)?;
    let infos = usize::from(read_u16(&mut rest).ok()?);
    (rest.len() == infos * 2).then_some(name)
}

fn answer(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

/// One request; false when the client goes.
fn transmit(stream: &mut (impl Read + Write), disk: &dyn BlockDevice) -> io::Result<bool> {
    if read_u32(stream)? != REQUEST_MAGIC {
        return Err(nonsense("its request is none"));
    }
    let flags = read_u16(stream)?;
    let kind = read_u16(stream)?;
    let handle = read_u64(stream)?;
    let offset = read_u64(stream)?;
    let len = read_u32(stream)?;
    if kind == DISCONNECT {
        return Ok(false);
    }
    let moves = matches!(kind, READ | WRITE);
    if moves && len > MAX_REQUEST {
        // What it would send cannot be skipped in good time.
        return Err(nonsense("its request is too long"));
    }
    let mut data = vec![
        0;
        if moves {
            usize::try_from(len).unwrap_or(0)
        } else {
            0
        }
    ];
    if kind == WRITE {
        stream.read_exact(&mut data)?;
    }
    let known = match kind {
        WRITE_ZEROES => COMMAND_FUA | COMMAND_NO_HOLE,
        _ => COMMAND_FUA,
    };
    let len = u64::from(len);
    let done = if flags & !known != 0 {
        Err(io::ErrorKind::InvalidInput.into())
    } else {
        match kind {
            READ => disk.read_at(&mut data, offset),
            WRITE => disk.write_at(&data, offset),
            FLUSH => disk.flush(),
            TRIM => disk.discard(offset, len),
            WRITE_ZEROES => disk.write_zeroes(offset, len, flags & COMMAND_NO_HOLE == 0),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    };
    let stable = flags & COMMAND_FUA != 0 && matches!(kind, WRITE | TRIM | WRITE_ZEROES);
    let done = done.and_then(|()| if stable { disk.flush() } else { Ok(()) });
    let error = done.err().map_or(0, |error| number_of(&error));
    let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(error.to_be_bytes());
    reply.extend(handle.to_be_bytes());
    stream.write_all(&reply)?;
    if kind == READ && error == 0 {
        stream.write_all(&data)?;
    }
    stream.flush()?;
    Ok(true)
}

fn number_of(error: &io::Error) -> u32 {
    match error.kind() {
        io::ErrorKind::PermissionDenied => EPERM,
        io::ErrorKind::InvalidInput => EINVAL,
        io::ErrorKind::StorageFull => ENOSPC,
        io::ErrorKind::OutOfMemory => ENOMEM,
        _ => EIO,
    }
}
