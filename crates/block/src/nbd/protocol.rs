//! Numbers and small messages that both sides have in common.
//! Spec: NetworkBlockDevice/nbd, doc/proto.md, "Values".

use std::io::{self, Read};

pub(super) const MAGIC: u64 = 0x4e42_444d_4147_4943;
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(super) const REPLY_MAGIC: u32 = 0x6744_6698;

pub(super) const FLAG_FIXED_NEWSTYLE: u16 = 1 << 0;
pub(super) const FLAG_NO_ZEROES: u16 = 1 << 1;

pub(super) const OPTION_EXPORT_NAME: u32 = 1;
pub(super) const OPTION_ABORT: u32 = 2;
pub(super) const OPTION_LIST: u32 = 3;
pub(super) const OPTION_INFO: u32 = 6;
pub(super) const OPTION_GO: u32 = 7;

pub(super) const REPLY_ACK: u32 = 1;
pub(super) const REPLY_SERVER: u32 = 2;
pub(super) const REPLY_INFO: u32 = 3;
pub(super) const REPLY_IS_ERROR: u32 = 1 << 31;
pub(super) const ERROR_UNSUPPORTED: u32 = REPLY_IS_ERROR | 1;
pub(super) const ERROR_INVALID: u32 = REPLY_IS_ERROR | 3;
pub(super) const ERROR_UNKNOWN: u32 = REPLY_IS_ERROR | 6;

pub(super) const INFO_EXPORT: u16 = 0;
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

pub(super) const HAS_FLAGS: u16 = 1 << 0;
pub(super) const READ_ONLY: u16 = 1 << 1;
pub(super) const SEND_FLUSH: u16 = 1 << 2;
pub(super) const SEND_FUA: u16 = 1 << 3;
pub(super) const SEND_TRIM: u16 = 1 << 5;
pub(super) const SEND_WRITE_ZEROES: u16 = 1 << 6;
pub(super) const CAN_MULTI_CONN: u16 = 1 << 8;

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const DISCONNECT: u16 = 2;
pub(super) const FLUSH: u16 = 3;
pub(super) const TRIM: u16 = 4;
pub(super) const WRITE_ZEROES: u16 = 6;

pub(super) const COMMAND_FUA: u16 = 1 << 0;
pub(super) const COMMAND_NO_HOLE: u16 = 1 << 1;

/// Errors, by the numbers that Linux gives them.
pub(super) const EPERM: u32 = 1;
pub(super) const EIO: u32 = 5;
pub(super) const ENOMEM: u32 = 12;
pub(super) const EINVAL: u32 = 22;
pub(super) const ENOSPC: u32 = 28;

/// What a request moves at most, bytes: 32 MiB, as the specification would have it.
pub(super) const MAX_REQUEST: u32 = 32 << 20;
/// What an option or the reply to one has at most, bytes.
pub(super) const MAX_OPTION: u32 = 64 << 10;

pub(super) fn read_u16(stream: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

pub(super) fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

pub(super) fn read_u64(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// An option's or a reply's data, whose length came before it.
pub(super) fn read_data(stream: &mut impl Read, len: u32) -> io::Result<Vec<u8>> {
    if len > MAX_OPTION {
        return Err(nonsense("it sends too much"));
    }
    let mut data = vec![0; usize::try_from(len).unwrap_or(0)];
    stream.read_exact(&mut data)?;
    Ok(data)
}

/// The other side does not speak NBD as it is specified.
pub(super) fn nonsense(what: &str) -> io::Error {
    let message = format!("the other side speaks no NBD that we know: {what}");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
