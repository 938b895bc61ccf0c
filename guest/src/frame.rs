//! The agent's protocol, version 2: what crosses the virtio-serial port `innkeeper.agent`.
//!
//! A frame is `length: u32` of the payload, `kind: u8`, `job: u32`, payload; integers are
//! little-endian. A string is its length as `u32` and its bytes. Jobs are numbered by the host; job 0
//! is the agent itself. The host's side is python/innkeeper/guest/frames.py.
//!
//! Input and output of each job have a window, because one command that does not read, or whose reader
//! does not, must not hold up the port for the others: nobody sends more than there is credit for.
//! Both begin with a window full of credit; whoever has taken bytes gives credit for as many.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

#[cfg(test)]
mod tests;

pub(crate) const VERSION: u16 = 2;
pub(crate) const HEADER: usize = 9;
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;
pub(crate) const STDIN_WINDOW: usize = 64 * 1024;
/// Of standard output and standard error together.
pub(crate) const OUTPUT_WINDOW: usize = 256 * 1024;

/// What a frame from the agent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// `version: u16`. The first frame after the port has opened.
    Hello = 64,
    Stdout = 65,
    Stderr = 66,
    /// `signalled: u8` and the status or the signal as `u32`.
    Exit = 67,
    /// `errno: u32` and a sentence. The job never started; for job 0, the guest cannot go on.
    Failed = 68,
    /// `bytes: u32` of standard input that the child has taken.
    Credit = 69,
}

/// What the host asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Exec {
        job: u32,
        exec: Exec,
    },
    Stdin {
        job: u32,
        bytes: Vec<u8>,
    },
    StdinEnd {
        job: u32,
    },
    Signal {
        job: u32,
        signal: i32,
    },
    Resize {
        job: u32,
        size: Size,
    },
    /// Start a login shell on the console. When it ends, job 0 is the guest's end, and another one
    /// is told as any command's.
    Console {
        job: u32,
        console: Console,
    },
    PowerOff,
    /// The host has taken this much of the job's output.
    Credit {
        job: u32,
        bytes: u32,
    },
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exec {
    /// Give the child a terminal of this size instead of three pipes.
    pub(crate) terminal: Option<Size>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) cwd: OsString,
    pub(crate) argv: Vec<OsString>,
    /// `NAME=value`, on top of the agent's defaults.
    pub(crate) env: Vec<OsString>,
}

/// Where the login shell runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Console {
    pub(crate) device: OsString,
    pub(crate) term: OsString,
    pub(crate) size: Size,
}

/// Bytes that are no frame of this protocol. The stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Appends one frame to `out`. A payload longer than [`MAX_PAYLOAD`] is the caller's to split.
pub(crate) fn encode(out: &mut Vec<u8>, kind: Kind, job: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&job.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Collects bytes from the port and yields whole requests.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Result<Option<Request>, Malformed> {
        let mut header = Fields(&self.bytes);
        let (Ok(length), Ok(kind), Ok(job)) = (header.u32(), header.u8(), header.u32()) else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        if length > MAX_PAYLOAD {
            return Err(Malformed);
        }
        let Some(payload) = header.0.get(..length) else {
            return Ok(None);
        };
        let request = parse(kind, job, payload)?;
        self.bytes.drain(..HEADER + length);
        Ok(Some(request))
    }
}

fn parse(kind: u8, job: u32, payload: &[u8]) -> Result<Request, Malformed> {
    let mut fields = Fields(payload);
    let request = match kind {
        1 => Request::Exec {
            job,
            exec: fields.exec()?,
        },
        2 => {
            return Ok(Request::Stdin {
                job,
                bytes: payload.to_vec(),
            });
        }
        3 => Request::StdinEnd { job },
        4 => Request::Signal {
            job,
            signal: i32::from(fields.u8()?),
        },
        5 => Request::Resize {
            job,
            size: fields.size()?,
        },
        6 => Request::Console {
            job,
            console: Console {
                device: fields.string()?,
                term: fields.string()?,
                size: fields.size()?,
            },
        },
        7 => Request::PowerOff,
        8 => Request::Credit {
            job,
            bytes: fields.u32()?,
        },
        _ => return Err(Malformed),
    };
    if fields.0.is_empty() {
        Ok(request)
    } else {
        Err(Malformed)
    }
}

/// What is left of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2)?
            .try_into()
            .map(u16::from_le_bytes)
            .map_err(|_| Malformed)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take(4)?
            .try_into()
            .map(u32::from_le_bytes)
            .map_err(|_| Malformed)
    }

    /// Text as the system has it: a file's name need not be UTF-8.
    fn string(&mut self) -> Result<OsString, Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        Ok(OsString::from_vec(self.take(length)?.to_vec()))
    }

    fn strings(&mut self) -> Result<Vec<OsString>, Malformed> {
        let count = self.u16()?;
        (0..count).map(|_| self.string()).collect()
    }

    fn size(&mut self) -> Result<Size, Malformed> {
        Ok(Size {
            columns: self.u16()?,
            rows: self.u16()?,
        })
    }

    fn exec(&mut self) -> Result<Exec, Malformed> {
        let terminal = self.u8()? != 0;
        let size = self.size()?;
        Ok(Exec {
            terminal: terminal.then_some(size),
            uid: self.u32()?,
            gid: self.u32()?,
            cwd: self.string()?,
            argv: self.strings()?,
            env: self.strings()?,
        })
    }
}
