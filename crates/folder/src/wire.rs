//! Requests taken apart and answers put together, byte by byte.

use std::ffi::{CStr, CString};

use rustix::io::Errno;

/// Of a request's header.
pub const HEADER_LEN: usize = 40;
/// Of an answer's header.
pub(crate) const ANSWER_LEN: usize = 16;
/// The most data in one request or answer. Bytes.
pub const MAX_DATA: usize = 1 << 20;
/// Names are no longer than the kernel lets them be.
const MAX_NAME: usize = 255;

/// What a request asks for; those that are not here are answered with ENOSYS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Lookup,
    Forget,
    GetAttr,
    SetAttr,
    ReadLink,
    SymLink,
    MkNod,
    MkDir,
    Unlink,
    RmDir,
    Rename,
    Link,
    Open,
    Read,
    Write,
    StatFs,
    Release,
    Fsync,
    Flush,
    Init,
    OpenDir,
    ReadDir,
    ReleaseDir,
    FsyncDir,
    Create,
    Interrupt,
    Destroy,
    BatchForget,
    Fallocate,
    ReadDirPlus,
    Rename2,
    Lseek,
    SyncFs,
}

impl Opcode {
    pub(crate) fn of(number: u32) -> Option<Opcode> {
        Some(match number {
            1 => Opcode::Lookup,
            2 => Opcode::Forget,
            3 => Opcode::GetAttr,
            4 => Opcode::SetAttr,
            5 => Opcode::ReadLink,
            6 => Opcode::SymLink,
            8 => Opcode::MkNod,
            9 => Opcode::MkDir,
            10 => Opcode::Unlink,
            11 => Opcode::RmDir,
            12 => Opcode::Rename,
            13 => Opcode::Link,
            14 => Opcode::Open,
            15 => Opcode::Read,
            16 => Opcode::Write,
            17 => Opcode::StatFs,
            18 => Opcode::Release,
            20 => Opcode::Fsync,
            25 => Opcode::Flush,
            26 => Opcode::Init,
            27 => Opcode::OpenDir,
            28 => Opcode::ReadDir,
            29 => Opcode::ReleaseDir,
            30 => Opcode::FsyncDir,
            35 => Opcode::Create,
            36 => Opcode::Interrupt,
            38 => Opcode::Destroy,
            42 => Opcode::BatchForget,
            43 => Opcode::Fallocate,
            44 => Opcode::ReadDirPlus,
            45 => Opcode::Rename2,
            46 => Opcode::Lseek,
            50 => Opcode::SyncFs,
            _ => return None,
        })
    }
}

/// `struct fuse_in_header`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
}

/// What is left to read of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    /// # Errors
    /// EINVAL when it is no request.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<(Header, Request<'a>), Errno> {
        let mut request = Request { rest: bytes };
        let len = request.u32()?;
        let header = Header {
            opcode: request.u32()?,
            unique: request.u64()?,
            node: request.u64()?,
        };
        // Whose request it is, is for the guest's own kernel to judge.
        request.skip(HEADER_LEN - 24)?;
        if len as usize != bytes.len() {
            return Err(Errno::INVAL);
        }
        Ok((header, request))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Errno> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Errno> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<(), Errno> {
        self.rest = self.rest.get(count..).ok_or(Errno::INVAL)?;
        Ok(())
    }

    /// All that follows.
    pub(crate) fn data(self) -> &'a [u8] {
        self.rest
    }

    /// Bytes up to a zero, which are no name yet.
    pub(crate) fn text(&mut self) -> Result<&'a CStr, Errno> {
        let text = CStr::from_bytes_until_nul(self.rest).map_err(|_| Errno::INVAL)?;
        self.skip(text.count_bytes() + 1)?;
        Ok(text)
    }

    /// One name in a directory, and no more than that.
    pub(crate) fn name(&mut self) -> Result<CString, Errno> {
        let name = self.text()?;
        check_name(name.to_bytes())?;
        Ok(name.to_owned())
    }
}

/// # Errors
/// When this is no single name.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.len() > MAX_NAME {
        return Err(Errno::NAMETOOLONG);
    }
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// The body of an answer, and how long it may become.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    bytes: &'a mut Vec<u8>,
    room: usize,
}

impl<'a> Answer<'a> {
    /// Leaves a place for the header. `room` counts it.
    pub(crate) fn begin(bytes: &'a mut Vec<u8>, room: usize) -> Answer<'a> {
        bytes.clear();
        bytes.resize(ANSWER_LEN, 0);
        Answer { bytes, room }
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        self.room.saturating_sub(self.bytes.len())
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Room for `len` bytes at the end, to be filled by the host.
    pub(crate) fn extend(&mut self, len: usize) -> &mut [u8] {
        let begin = self.bytes.len();
        self.bytes.resize(begin + len, 0);
        &mut self.bytes[begin..]
    }
}

/// Fills the header in: `struct fuse_out_header`.
pub(crate) fn seal(bytes: &mut [u8], unique: u64, error: Option<Errno>) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let error = error.map_or(0, |errno| -errno.raw_os_error());
    if let Some(header) = bytes.first_chunk_mut::<ANSWER_LEN>() {
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..8].copy_from_slice(&error.to_le_bytes());
        header[8..].copy_from_slice(&unique.to_le_bytes());
    }
}
