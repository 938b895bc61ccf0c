//! What a driver asks for, and what it is answered.
//! Spec: VIRTIO 1.2, "GPU Device", "Device Operation: Request header", "controlq", "cursorq".

use display::Rect;

use crate::virtio::{Chain, Nonsense};

const HEADER: usize = 24;
const BODY: usize = 32;
/// Of the header: the answer tells the fence.
const FLAG_FENCE: u32 = 1;

const OK: u32 = 0x1100;
const OK_DISPLAY_INFO: u32 = 0x1101;
const OK_EDID: u32 = 0x1104;
/// Scanouts that an answer has room for.
const MOST_SCANOUTS: usize = 16;
/// Bytes of an EDID that an answer has room for.
const EDID_ROOM: usize = 1024;

/// Why a command was not carried out. Spec: "VIRTIO_GPU_RESP_ERR".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Unspecified = 0x1200,
    OutOfMemory = 0x1201,
    Scanout = 0x1202,
    Resource = 0x1203,
    Parameter = 0x1205,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    DisplayInfo,
    Edid {
        scanout: u32,
    },
    Create {
        id: u32,
        format: u32,
        width: u32,
        height: u32,
    },
    Forget {
        id: u32,
    },
    Show {
        part: Rect,
        scanout: u32,
        id: u32,
    },
    Flush {
        part: Rect,
        id: u32,
    },
    Transfer {
        part: Rect,
        offset: u64,
        id: u32,
    },
    /// Its buffers follow from [`Command::ENTRIES`] on.
    Attach {
        id: u32,
        entries: u32,
    },
    Detach {
        id: u32,
    },
    /// The cursor looks so and is there.
    Cursor {
        at: (i32, i32),
        id: u32,
        hot: (u32, u32),
    },
    MoveCursor {
        at: (i32, i32),
    },
}

/// What every command begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    bytes: [u8; HEADER],
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// The size of the only scanout.
    DisplayInfo(u32, u32),
    Edid([u8; 128]),
}

impl Command {
    /// Where in the request the buffers of [`Command::Attach`] begin, and what each has: an address, a
    /// length, and nothing.
    pub(super) const ENTRIES: u64 = HEADER as u64 + 8;
    pub(super) const ENTRY: usize = 16;

    /// # Errors
    /// The request's end comes too soon, or there is no such command.
    pub(super) fn read(chain: &Chain) -> Result<(Header, Result<Command, Refusal>), Nonsense> {
        let mut bytes = [0; HEADER + BODY];
        let len = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
        let len = len.min(bytes.len());
        chain.read_at(0, &mut bytes[..len])?;
        let mut header = Header { bytes: [0; HEADER] };
        header.bytes.copy_from_slice(&bytes[..HEADER]);
        let found = Command::parse(header.word(0), &bytes[HEADER..], len.saturating_sub(HEADER));
        Ok((header, found))
    }

    fn parse(kind: u32, body: &[u8], len: usize) -> Result<Command, Refusal> {
        let word = |index: usize| word(body, 4 * index);
        let part = Rect {
            x: word(0),
            y: word(1),
            width: word(2),
            height: word(3),
        };
        let at = (word(1).cast_signed(), word(2).cast_signed());
        let (needed, command) = match kind {
            0x0100 => (0, Command::DisplayInfo),
            0x0101 => {
                let (id, format, width, height) = (word(0), word(1), word(2), word(3));
                let command = Command::Create {
                    id,
                    format,
                    width,
                    height,
                };
                (16, command)
            }
            0x0102 => (8, Command::Forget { id: word(0) }),
            0x0103 => {
                let (scanout, id) = (word(4), word(5));
                (24, Command::Show { part, scanout, id })
            }
            0x0104 => (24, Command::Flush { part, id: word(4) }),
            0x0105 => {
                let (offset, id) = (u64::from(word(5)) << 32 | u64::from(word(4)), word(6));
                (32, Command::Transfer { part, offset, id })
            }
            0x0106 => {
                let (id, entries) = (word(0), word(1));
                (8, Command::Attach { id, entries })
            }
            0x0107 => (8, Command::Detach { id: word(0) }),
            0x010a => (8, Command::Edid { scanout: word(0) }),
            0x0300 => {
                let (id, hot) = (word(4), (word(5), word(6)));
                (32, Command::Cursor { at, id, hot })
            }
            0x0301 => (32, Command::MoveCursor { at }),
            _ => return Err(Refusal::Unspecified),
        };
        if len < needed {
            return Err(Refusal::Parameter);
        }
        Ok(command)
    }
}

impl Header {
    fn word(&self, at: usize) -> u32 {
        word(&self.bytes, at)
    }

    /// The answer's bytes.
    pub(super) fn answer(&self, answer: &Result<Answer, Refusal>) -> Vec<u8> {
        let kind = match answer {
            Ok(Answer::Done) => OK,
            Ok(Answer::DisplayInfo(..)) => OK_DISPLAY_INFO,
            Ok(Answer::Edid(_)) => OK_EDID,
            Err(refusal) => *refusal as u32,
        };
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        if self.word(4) & FLAG_FENCE != 0 {
            bytes[4] = 1;
            // The fence, its context and its ring.
            bytes[8..].copy_from_slice(&self.bytes[8..]);
        }
        match answer {
            Ok(Answer::DisplayInfo(width, height)) => {
                for word in [0, 0, *width, *height, 1, 0] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.resize(HEADER + 24 * MOST_SCANOUTS, 0);
            }
            Ok(Answer::Edid(block)) => {
                bytes.extend(128u32.to_le_bytes());
                bytes.extend([0; 4]);
                bytes.extend(block);
                bytes.resize(HEADER + 8 + EDID_ROOM, 0);
            }
            _ => {}
        }
        bytes
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}
