//! A disk that another process or host has.

use std::fmt::{self, Debug};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::address::NbdAddress;
use super::protocol::{
    CAN_MULTI_CONN, COMMAND_NO_HOLE, DISCONNECT, EINVAL, ENOSPC, EPERM, FLAG_FIXED_NEWSTYLE,
    FLAG_NO_ZEROES, FLUSH, HAS_FLAGS, INFO_BLOCK_SIZE, INFO_EXPORT, MAGIC, MAX_REQUEST, OPTION_GO,
    OPTION_MAGIC, OPTION_REPLY_MAGIC, READ, READ_ONLY, REPLY_ACK, REPLY_INFO, REPLY_IS_ERROR,
    REPLY_MAGIC, REQUEST_MAGIC, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES, TRIM, WRITE,
    WRITE_ZEROES, nonsense, read_data, read_u16, read_u32, read_u64,
};
use crate::device::{SECTOR_SIZE, not_stable, refuse_write};
use crate::{BlockDevice, BlockError, check_range};

/// A server that says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Infos that a server may send before it accepts.
const MAX_INFOS: usize = 64;
/// Zeros are written in pieces of this where the server cannot write them itself, bytes.
const ZEROS: usize = 64 << 10;

/// A connection: of TCP, of a Unix socket, or of a test.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A disk of an NBD server.
pub struct NbdDisk {
    /// None: it broke, in the middle of who knows what.
    stream: Mutex<Option<Box<dyn Stream>>>,
    size: u64,
    flags: u16,
    max_request: u64,
    name: String,
}

impl Debug for NbdDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NbdDisk")
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl NbdDisk {
    /// # Errors
    /// When there is no server, or it has no such export.
    pub fn connect(uri: &str) -> Result<NbdDisk, BlockError> {
        let address = NbdAddress::parse(uri)?;
        let failed = |source: io::Error| BlockError::Nbd {
            uri: uri.to_owned(),
            source,
        };
        let stream: Box<dyn Stream> = match &address {
            NbdAddress::Tcp { host, port, .. } => {
                Box::new(connect_tcp(host, *port).map_err(failed)?)
            }
            NbdAddress::Unix { socket, .. } => {
                let stream = UnixStream::connect(socket).map_err(failed)?;
                let limited = stream.set_read_timeout(Some(PATIENCE));
                limited
                    .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
                    .map_err(failed)?;
                Box::new(stream)
            }
        };
        NbdDisk::over(stream, address.export(), uri.to_owned()).map_err(failed)
    }

    /// Negotiates on a connection.
    pub(crate) fn over(
        mut stream: Box<dyn Stream>,
        export: &str,
        name: String,
    ) -> io::Result<NbdDisk> {
        let Export {
            size,
            flags,
            max_request,
        } = negotiate(&mut *stream, export)?;
        if flags & HAS_FLAGS == 0 {
            return Err(nonsense("it has no flags"));
        }
        if i64::try_from(size).is_err() {
            return Err(nonsense("its export is too large"));
        }
        Ok(NbdDisk {
            stream: Mutex::new(Some(stream)),
            // A part of a sector cannot be reached by a guest.
            size: size / SECTOR_SIZE * SECTOR_SIZE,
            flags,
            max_request,
            name,
        })
    }

    /// May several connections have the disk at once, each seeing what another has flushed?
    #[must_use]
    pub fn can_be_shared(&self) -> bool {
        self.flags & CAN_MULTI_CONN != 0
    }

    /// With `read_only`, it is not written to though the server lets us.
    pub(crate) fn guarded(mut self, read_only: bool) -> NbdDisk {
        if read_only {
            self.flags |= READ_ONLY;
        }
        self
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request and its reply. What breaks the connection breaks it for good: nobody knows what
    /// of it has arrived.
    fn request(
        &self,
        command: (u16, u16),
        offset: u64,
        len: u32,
        out: &[u8],
        into: &mut [u8],
    ) -> io::Result<()> {
        let mut held = self.lock();
        let stream = held.as_mut().ok_or_else(broken)?;
        match exchange(&mut **stream, command, offset, len, out, into) {
            Ok(0) => Ok(()),
            Ok(error) => Err(error_of(error)),
            Err(error) => {
                *held = None;
                Err(error)
            }
        }
    }

    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.read_only() {
            return Err(refuse_write());
        }
        check_range(self.size, offset, len)
    }

    /// Calls `request` for pieces that the server takes.
    fn pieces(
        &self,
        offset: u64,
        len: u64,
        mut request: impl FnMut(u64, u32, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(self.max_request);
            let short = u32::try_from(piece).unwrap_or(MAX_REQUEST);
            request(
                offset + done,
                short,
                usize::try_from(done).unwrap_or(usize::MAX),
            )?;
            done += piece;
        }
        Ok(())
    }
}

fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    use std::net::ToSocketAddrs;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Export {
    size: u64,
    flags: u16,
    max_request: u64,
}

fn negotiate(stream: &mut dyn Stream, export: &str) -> io::Result<Export> {
    let mut stream = stream;
    if read_u64(&mut stream)? != MAGIC || read_u64(&mut stream)? != OPTION_MAGIC {
        return Err(nonsense("its greeting is another's, or an older one's"));
    }
    let flags = read_u16(&mut stream)?;
    if flags & FLAG_FIXED_NEWSTYLE == 0 {
        return Err(nonsense("it negotiates as servers did long ago"));
    }
    let ours = FLAG_FIXED_NEWSTYLE | flags & FLAG_NO_ZEROES;
    let name_len = u32::try_from(export.len()).unwrap_or(u32::MAX);
    let mut message = u32::from(ours).to_be_bytes().to_vec();
    message.extend(OPTION_MAGIC.to_be_bytes());
    message.extend(OPTION_GO.to_be_bytes());
    message.extend((4 + name_len + 2 + 2).to_be_bytes());
    message.extend(name_len.to_be_bytes());
    message.extend(export.as_bytes());
    message.extend(1u16.to_be_bytes());
    message.extend(INFO_BLOCK_SIZE.to_be_bytes());
    stream.write_all(&message)?;
    stream.flush()?;
    let mut found = None;
    let mut max_request = u64::from(MAX_REQUEST);
    for _ in 0..MAX_INFOS {
        if read_u64(&mut stream)? != OPTION_REPLY_MAGIC || read_u32(&mut stream)? != OPTION_GO {
            return Err(nonsense("it answers what was not asked"));
        }
        let kind = read_u32(&mut stream)?;
        let len = read_u32(&mut stream)?;
        let data = read_data(&mut stream, len)?;
        match kind {
            REPLY_ACK => {
                let (size, flags) = found.ok_or_else(|| nonsense("it tells no size"))?;
                return Ok(Export {
                    size,
                    flags,
                    max_request,
                });
            }
            REPLY_INFO => {
                let data = &mut &data[..];
                match read_u16(data)? {
                    INFO_EXPORT => found = Some((read_u64(data)?, read_u16(data)?)),
                    INFO_BLOCK_SIZE => {
                        let (least, _, most) = (read_u32(data)?, read_u32(data)?, read_u32(data)?);
                        if u64::from(least) > SECTOR_SIZE {
                            return Err(nonsense("its blocks are larger than 512 bytes"));
                        }
                        let most = u64::from(most).min(max_request);
                        max_request = (most / SECTOR_SIZE * SECTOR_SIZE).max(SECTOR_SIZE);
                    }
                    _ => {}
                }
            }
            kind if kind & REPLY_IS_ERROR != 0 => {
                let words = String::from_utf8_lossy(&data);
                let words: String = words
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("the server refuses the export {export:?}: {words}"),
                ));
            }
            _ => {}
        }
    }
    Err(nonsense("it does not come to an end"))
}

/// Answers the error that the server tells; 0 is none.
fn exchange(
    stream: &mut dyn Stream,
    (kind, flags): (u16, u16),
    offset: u64,
    len: u32,
    out: &[u8],
    into: &mut [u8],
) -> io::Result<u32> {
    // One at a time: any handle does, and 0 is what forgetful servers send.
    const HANDLE: u64 = 0x696e_6e6b;
    let mut stream = stream;
    let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
    request.extend(flags.to_be_bytes());
    request.extend(kind.to_be_bytes());
    request.extend(HANDLE.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(len.to_be_bytes());
    stream.write_all(&request)?;
    stream.write_all(out)?;
    stream.flush()?;
    if read_u32(&mut stream)? != REPLY_MAGIC {
        return Err(nonsense("its reply is none"));
    }
    let error = read_u32(&mut stream)?;
    if read_u64(&mut stream)? != HANDLE {
        return Err(nonsense("it answers another request"));
    }
    if error == 0 {
        stream.read_exact(into)?;
    }
    Ok(error)
}

fn error_of(number: u32) -> io::Error {
    let kind = match number {
        EPERM => io::ErrorKind::PermissionDenied,
        EINVAL => io::ErrorKind::InvalidInput,
        ENOSPC => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the NBD server answers with error {number}"))
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the connection to the NBD server is lost",
    )
}

impl Drop for NbdDisk {
    fn drop(&mut self) {
        if let Some(stream) = self.lock().as_mut() {
            let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
            request.extend([0; 2]);
            request.extend(DISCONNECT.to_be_bytes());
            request.extend([0; 20]);
            // Politeness: a server sees the connection's end as well.
            let _ = stream.write_all(&request);
        }
    }
}

impl BlockDevice for NbdDisk {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        self.flags & READ_ONLY != 0
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.size, offset, buf.len() as u64)?;
        self.pieces(offset, buf.len() as u64, |at, len, done| {
            let end = done + usize::try_from(len).unwrap_or(0);
            self.request((READ, 0), at, len, &[], &mut buf[done..end])
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        self.pieces(offset, buf.len() as u64, |at, len, done| {
            let end = done + usize::try_from(len).unwrap_or(0);
            self.request((WRITE, 0), at, len, &buf[done..end], &mut [])
        })
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only() || self.flags & SEND_FLUSH == 0 {
            return Ok(());
        }
        let done = self.request((FLUSH, 0), 0, 0, &[], &mut []);
        done.map_err(not_stable)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        if self.flags & SEND_TRIM == 0 {
            return Ok(());
        }
        self.pieces(offset, len, |at, len, _| {
            self.request((TRIM, 0), at, len, &[], &mut [])
        })
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.check_write(offset, len)?;
        if self.flags & SEND_WRITE_ZEROES == 0 {
            let zeros = [0; ZEROS];
            let mut done = 0;
            while done < len {
                let piece = usize::try_from(len - done).map_or(ZEROS, |left| left.min(ZEROS));
                self.write_at(&zeros[..piece], offset + done)?;
                done += piece as u64;
            }
            return Ok(());
        }
        let flags = if unmap { 0 } else { COMMAND_NO_HOLE };
        self.pieces(offset, len, |at, len, _| {
            self.request((WRITE_ZEROES, flags), at, len, &[], &mut [])
        })
    }

    fn identify(&self) -> String {
        self.name.clone()
    }
}

/// Takes `bytes` for what a server says, and reads and writes its disk, for fuzzing.
///
/// # Errors
/// When it is no server.
pub fn check_nbd_server(bytes: &[u8]) -> io::Result<()> {
    struct Said(io::Cursor<Vec<u8>>);
    impl Read for Said {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }
    impl Write for Said {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let said = Box::new(Said(io::Cursor::new(bytes.to_vec())));
    let disk = NbdDisk::over(said, "", "(bytes)".to_owned())?;
    let mut piece = [0; 4096];
    let _ = disk.read_at(&mut piece, 0);
    let _ = disk.write_at(&piece, 0);
    let _ = disk.write_zeroes(0, 1 << 16, true);
    let _ = disk.flush();
    Ok(())
}
