//! The agent's protocol, version 3: what crosses the virtio-serial port `innkeeper.agent`, or a socket of vsock's
//! that the host asked for there. Whoever may open the port is root; anybody in the guest may call the host by
//! vsock, so that the agent shows a token there that it was given here. The host goes on where it says `Sync`.
//!
//! A frame is `length: u32` of the payload, `kind: u8`, `job: u32`, payload; integers are
//! little-endian. A string is its length as `u32` and its bytes. Jobs are numbered by the host; job 0
//! is the agent itself. The host's side is python/innkeeper/guest/frames.py.
//!
//! Input and output of each job have a window, because one command that does not read, or whose reader
//! does not, must not hold up the port for the others: nobody sends more than there is credit for.
//! Both begin with a window full of credit; whoever has taken bytes gives credit for as many. That of input was
//! smaller once, so it begins as it was, and this agent gives credit for the rest when a job begins: a host that knows
//! the smaller one only drops what is beyond it.
//!
//! An agent that was installed in an image may be older than its host. It answers what it does not know with
//! `Failed` and ENOSYS, and the version moves only where something old gets another meaning.
//!
//! A guest that is restored from a save has a new host behind its port, which knows nothing of what was half
//! said. That host sends a `Sync`, with a number that it made up, and drops all that comes before a `Hello`
//! with that number. An agent that is started while its guest runs says an unexpected `Hello`, upon which the
//! host does the same; and what makes no sense to an agent, it drops until there is a `Sync`.

use std::ffi::OsString;

use crate::fields::Fields;

#[cfg(test)]
mod tests;

pub(crate) const VERSION: u16 = 3;
pub(crate) const HEADER: usize = 9;
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;
pub(crate) const STDIN_WINDOW: usize = 256 * 1024;
/// With how much of it each job begins.
pub(crate) const STDIN_BEGIN: usize = 64 * 1024;
/// Of standard output and standard error together.
pub(crate) const OUTPUT_WINDOW: usize = 256 * 1024;

/// What a frame from the agent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// `version: u16` and the 16 bytes of the `Sync` that this answers, zeros in the first frame after the port
    /// has opened.
    Hello = 64,
    Stdout = 65,
    Stderr = 66,
    /// `signalled: u8` and the status or the signal as `u32`.
    Exit = 67,
    /// `errno: u32` and a sentence. The job never started; for job 0, the guest cannot go on.
    Failed = 68,
    /// `bytes: u32` of standard input that the child has taken.
    Credit = 69,
    /// What an errand found out: see [`Errand`].
    Done = 70,
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
    /// Another host is there. Only these jobs are its own.
    Sync {
        nonce: [u8; 16],
        keep: Vec<u32>,
    },
    Errand {
        job: u32,
        errand: Errand,
    },
    /// Call the host at this port of vsock's, and say hello with the token. `Failed` when nobody is there.
    Meet {
        job: u32,
        port: u32,
        token: [u8; 16],
    },
    /// A host newer than this agent wants something.
    Unknown {
        job: u32,
    },
    /// The host has taken this much of the job's output.
    Credit {
        job: u32,
        bytes: u32,
    },
}

/// What the host wants of the guest as a whole. Each ends with `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Nanoseconds since 1970. Done: by how many the clock was ahead, as `i64`.
    SetTime(u64),
    /// Done: nothing.
    Renew(Identity),
    /// Freeze all file systems for so many milliseconds at most. Done: how many, as `u32`.
    Freeze(u32),
    /// Done: how many were still frozen, as `u32`.
    Thaw,
    /// Text that was copied elsewhere. Done: nothing.
    SetClipboard(Vec<u8>),
    /// What was copied here, unless it has this number. Done: its number as `u64`, whether it has another as `u8`,
    /// and then the text.
    Clipboard(u64),
}

/// What tells a guest from others that were one with it before. What is empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) hostname: OsString,
    pub(crate) machine_id: Option<[u8; 16]>,
    /// For the kernel's generator of random numbers.
    pub(crate) entropy: Vec<u8>,
    /// Network cards: their address so far, and from now on.
    pub(crate) cards: Vec<([u8; 6], [u8; 6])>,
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
    /// `USER[:GROUP]`, by names or numbers; empty for root.
    pub(crate) user: OsString,
    /// Empty for the user's home.
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
pub(crate) fn encode(out: &mut impl for<'a> Extend<&'a u8>, kind: Kind, job: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(&length.to_le_bytes());
    out.extend(&[kind as u8]);
    out.extend(&job.to_le_bytes());
    out.extend(payload);
}

/// How a `Sync` begins that keeps no jobs.
const SYNC: [u8; HEADER] = [18, 0, 0, 0, 9, 0, 0, 0, 0];

/// Collects bytes from the port and yields whole requests.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    /// What comes is in the middle of something, until there is a `Sync`.
    lost: bool,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `None` while there is none that is whole.
    pub(crate) fn next(&mut self) -> Option<Request> {
        loop {
            if self.lost && !self.find_sync() {
                return None;
            }
            match self.first() {
                Ok(request) => return request,
                Err(Malformed) => {
                    self.lost = true;
                    // Not the same again.
                    self.bytes.drain(..1);
                }
            }
        }
    }

    /// Drops what comes before one.
    fn find_sync(&mut self) -> bool {
        let found = self.bytes.windows(HEADER).position(|bytes| bytes == SYNC);
        self.lost = found.is_none();
        // Of one that has only begun, the beginning stays.
        let end = self.bytes.len().saturating_sub(HEADER - 1);
        self.bytes.drain(..found.unwrap_or(end));
        !self.lost
    }

    fn first(&mut self) -> Result<Option<Request>, Malformed> {
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
            exec: exec(&mut fields)?,
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
            size: size(&mut fields)?,
        },
        6 => Request::Console {
            job,
            console: Console {
                device: fields.string()?,
                term: fields.string()?,
                size: size(&mut fields)?,
            },
        },
        7 => Request::PowerOff,
        8 => Request::Credit {
            job,
            bytes: fields.u32()?,
        },
        9 => Request::Sync {
            nonce: fields.array()?,
            keep: fields.list(Fields::u32)?,
        },
        10..14 | 16 => Request::Errand {
            job,
            errand: errand(kind, &mut fields)?,
        },
        14 => Request::Meet {
            job,
            port: fields.u32()?,
            token: fields.array()?,
        },
        15 => {
            return Ok(Request::Errand {
                job,
                errand: Errand::SetClipboard(payload.to_vec()),
            });
        }
        17..64 => return Ok(Request::Unknown { job }),
        _ => return Err(Malformed),
    };
    if fields.0.is_empty() {
        Ok(request)
    } else {
        Err(Malformed)
    }
}

fn errand(kind: u8, fields: &mut Fields<'_>) -> Result<Errand, Malformed> {
    Ok(match kind {
        10 => Errand::SetTime(fields.u64()?),
        11 => Errand::Renew(identity(fields)?),
        12 => Errand::Freeze(fields.u32()?),
        13 => Errand::Thaw,
        16 => Errand::Clipboard(fields.u64()?),
        _ => return Err(Malformed),
    })
}

fn identity(fields: &mut Fields<'_>) -> Result<Identity, Malformed> {
    Ok(Identity {
        hostname: fields.string()?,
        machine_id: match fields.bytes()? {
            [] => None,
            id => Some(id.try_into().map_err(|_| Malformed)?),
        },
        entropy: fields.bytes()?.to_vec(),
        cards: fields.list(|fields| Ok((fields.array()?, fields.array()?)))?,
    })
}

fn exec(fields: &mut Fields<'_>) -> Result<Exec, Malformed> {
    let terminal = fields.u8()? != 0;
    let size = size(fields)?;
    Ok(Exec {
        terminal: terminal.then_some(size),
        user: fields.string()?,
        cwd: fields.string()?,
        argv: fields.list(Fields::string)?,
        env: fields.list(Fields::string)?,
    })
}

fn size(fields: &mut Fields<'_>) -> Result<Size, Malformed> {
    Ok(Size {
        columns: fields.u16()?,
        rows: fields.u16()?,
    })
}
