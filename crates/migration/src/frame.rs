//! What the two guest's processes of a migration send each other: frames of a few kinds, none of which is long.
//!
//! A frame is its kind (`u8`), three zeros, the length of what follows (`u32`), and that. Integers are
//! little-endian. What follows is in docs/reference/migration.md, by kind.

use std::io::{self, Read, Write};

use thiserror::Error;

/// Bytes before what a frame says.
pub const HEADER: usize = 8;
/// What a frame says at most. No peer makes us hold more.
pub const LONGEST: usize = (1 << 20) + (64 << 10);
/// Of the first frame: what this is, and of which version.
pub const MAGIC: [u8; 8] = *b"INNKMOVE";
pub const VERSION: u32 = 1;
/// Of a source that may let the guest begin before all of its memory has come.
pub const POST_COPY: u32 = 2;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From the source: what will come.
    Hello = 1,
    /// Pages of memory.
    Pages = 2,
    /// A piece of a disk.
    Disk = 3,
    /// All that was to be sent of a round has been.
    Round = 4,
    /// A part of the state of processors and devices.
    State = 5,
    /// A part of what else the guest's process knew.
    About = 6,
    /// That was all.
    End = 7,
    /// The source does not run the guest any more, and will not: the target does.
    Go = 8,
    /// Pages that come when the guest runs there. From the target: those that have not come.
    Missing = 9,
    /// From the target: it has all, and waits for `Go`.
    Ready = 16,
    /// The guest runs there.
    Running = 17,
    /// The target does not want it: why, in words.
    Refused = 18,
    /// Somebody waits for these pages there.
    Wanted = 19,
    /// A frame of pages was taken.
    Taken = 20,
    /// Nothing is missing any more.
    Complete = 21,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        let all = [
            Kind::Hello,
            Kind::Pages,
            Kind::Disk,
            Kind::Round,
            Kind::State,
            Kind::About,
            Kind::End,
            Kind::Go,
            Kind::Missing,
            Kind::Ready,
            Kind::Running,
            Kind::Refused,
            Kind::Wanted,
            Kind::Taken,
            Kind::Complete,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

#[derive(Debug, Error)]
pub enum FrameError {
    #[error("the other host is gone")]
    Gone,
    #[error("the other host does not answer")]
    Silent,
    #[error("the connection to the other host failed")]
    Failed(#[source] io::Error),
    #[error("the other host does not keep to the protocol: {0}")]
    Nonsense(&'static str),
    #[error("the other host says: {0}")]
    Refused(String),
    #[error("cannot keep what is received")]
    Keep(#[source] io::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => FrameError::Gone,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => FrameError::Silent,
            _ => FrameError::Failed(error),
        }
    }
}

/// Sends a frame, in one piece.
///
/// # Errors
/// When the other side has gone or does not read.
pub fn write(to: &mut impl Write, kind: Kind, body: &[u8]) -> Result<(), FrameError> {
    debug_assert!(body.len() <= LONGEST);
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend([kind as u8, 0, 0, 0]);
    frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(body);
    Ok(to.write_all(&frame)?)
}

/// Takes the next frame, whose body replaces what is in `body`.
///
/// # Errors
/// When there is none, or what comes is none.
pub fn read(from: &mut impl Read, body: &mut Vec<u8>) -> Result<Kind, FrameError> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let [kind, 0, 0, 0, a, b, c, d] = header else {
        return Err(FrameError::Nonsense("a frame's header is damaged"));
    };
    let kind = Kind::of(kind).ok_or(FrameError::Nonsense("a frame of an unknown kind"))?;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > LONGEST {
        return Err(FrameError::Nonsense("a frame is too long"));
    }
    body.clear();
    // Room is made as bytes come, not as they are promised.
    let taken = from.take(len as u64).read_to_end(body)?;
    if taken < len {
        return Err(FrameError::Gone);
    }
    Ok(kind)
}

/// Takes numbers off the front of a frame's body.
#[derive(Debug)]
pub struct Body<'a>(pub &'a [u8]);

impl<'a> Body<'a> {
    /// # Errors
    /// When the body ends before that, as with all of these.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(FrameError::Nonsense("a frame ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// # Errors
    /// See [`Body::bytes`].
    pub fn u32(&mut self) -> Result<u32, FrameError> {
        let mut word = [0; 4];
        word.copy_from_slice(self.bytes(4)?);
        Ok(u32::from_le_bytes(word))
    }

    /// # Errors
    /// See [`Body::bytes`].
    pub fn u64(&mut self) -> Result<u64, FrameError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.bytes(8)?);
        Ok(u64::from_le_bytes(word))
    }
}

/// What comes: the first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Pages of all memory.
    pub pages: u64,
    /// Bytes of each disk that is copied.
    pub disks: Vec<u64>,
    /// The guest may begin before all of its memory has come.
    pub post_copy: bool,
}

/// Disks that one guest has at most.
const MOST_DISKS: usize = 256;

impl Hello {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        let version = if self.post_copy { POST_COPY } else { VERSION };
        body.extend(version.to_le_bytes());
        body.extend(u32::try_from(self.disks.len()).unwrap_or(0).to_le_bytes());
        body.extend(self.pages.to_le_bytes());
        for len in &self.disks {
            body.extend(len.to_le_bytes());
        }
        body
    }

    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(body: &[u8]) -> Result<Hello, FrameError> {
        let mut body = Body(body);
        if body.bytes(MAGIC.len())? != MAGIC {
            return Err(FrameError::Nonsense("it does not begin as a migration"));
        }
        let version = body.u32()?;
        if version != VERSION && version != POST_COPY {
            return Err(FrameError::Nonsense(
                "it migrates by another version of the protocol",
            ));
        }
        let disks = body.u32()? as usize;
        let pages = body.u64()?;
        if disks > MOST_DISKS {
            return Err(FrameError::Nonsense("so many disks has no guest"));
        }
        let disks = (0..disks).map(|_| body.u64()).collect::<Result<_, _>>()?;
        Ok(Hello {
            pages,
            disks,
            post_copy: version == POST_COPY,
        })
    }
}

#[cfg(test)]
mod tests;
